export interface RunOptions {
  readonly cwd?: string;
  readonly stdin?: Uint8Array<ArrayBuffer>;
  /** Added to the environment. */
  readonly env?: Readonly<Record<string, string>>;
}

export interface Finished {
  readonly status: number;
  readonly stdout: string;
  readonly stderr: string;
}

/** Runs a tool of the machine to its end. Throws, with what it said, when its status is not 0. */
export async function run(command: readonly string[], options: RunOptions = {}): Promise<Finished> {
  const finished = await attempt(command, options);
  if (finished.status === 0) return finished;
  throw new Error(`${command.join(" ")} ended with status ${finished.status}: ${finished.stderr}`);
}

/** Like `run`, for a tool whose failure is an answer. Messages come untranslated. */
export async function attempt(command: readonly string[], options: RunOptions = {}): Promise<Finished> {
  const child = Bun.spawn([...command], {
    ...(options.cwd === undefined ? {} : { cwd: options.cwd }),
    env: { ...process.env, ...options.env, LC_ALL: "C" },
    stdin: options.stdin ?? "ignore",
    stdout: "pipe",
    stderr: "pipe",
  });
  const [stdout, stderr, status] = await Promise.all([
    new Response(child.stdout).text(),
    new Response(child.stderr).text(),
    child.exited,
  ]);
  return { status, stdout, stderr };
}
