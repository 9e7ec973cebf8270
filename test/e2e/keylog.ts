import { readdirSync, readFileSync } from "node:fs";
import * as v from "valibot";
import { type VerifiedTls, verifySchema } from "../../src/output/document.ts";
import { executable, type Run, run, Scratch } from "./executable.ts";

/** A folder with a self-signed certificate, as `key.pem` and `cert.pem`. */
export function certified(): Scratch {
  const scratch = new Scratch();
  const subject = ["-subj", "/CN=offsetof", "-keyout", scratch.at("key.pem"), "-out", scratch.at("cert.pem")];
  const made = run(["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2", ...subject]);
  if (made.status !== 0) throw new Error(made.stderr);
  return scratch;
}

/** Every secret in a key log, in hex. */
export const secretsIn = (path: string): readonly string[] =>
  [...readFileSync(path, "utf8").matchAll(/^[A-Z_0-9]+ \w+ (\w+)$/gm)].map(([, secret = ""]) => secret);

/** The libraries of a verification that was printed. */
export const verifiedIn = ({ stdout }: Run): readonly VerifiedTls[] =>
  v.parse(verifySchema, JSON.parse(stdout)).verify.tls ?? [];

/** Items of a connection that did not hold. */
export const wrongIn = ({ items }: VerifiedTls): readonly string[] =>
  Object.entries(items).flatMap(([item, { compared, held }]) => (held === compared ? [] : [item]));

/** A run of the executable that goes on while other things are done. */
export class Running {
  readonly #process: Bun.Subprocess<"ignore", "pipe", "pipe">;
  readonly #output: Promise<[string, string]>;

  /** @param prefix what starts it, such as prlimit(1) with its options */
  constructor(
    args: readonly string[],
    { cwd = "/", prefix = [] }: { cwd?: string; prefix?: readonly string[] } = {},
  ) {
    this.#process = Bun.spawn([...prefix, executable, ...args], {
      cwd,
      env: { PATH: "/usr/sbin:/usr/bin:/sbin:/bin" },
      stdin: "ignore",
      stdout: "pipe",
      stderr: "pipe",
    });
    const { stdout, stderr } = this.#process;
    this.#output = Promise.all([new Response(stdout).text(), new Response(stderr).text()]);
  }

  get pid(): number {
    return this.#process.pid;
  }

  kill(signal: NodeJS.Signals): void {
    this.#process.kill(signal);
  }

  async end(): Promise<Run> {
    const [stdout, stderr] = await this.#output;
    return { status: await this.#process.exited, stdout, stderr };
  }

  /** Waits until everything is attached. @returns what the kernel holds for it */
  async watches(): Promise<readonly Held[]> {
    let before: readonly Held[] = [];
    for (const end = performance.now() + 15_000; performance.now() < end; await Bun.sleep(250)) {
      const held = heldBy(this.pid);
      if (held.length > 0 && held.length === before.length && held.some(({ kind }) => kind === "link"))
        return held;
      before = held;
    }
    throw new Error(`it attached nothing in 15 s: ${(await this.end()).stderr}`);
  }
}

/** A program, map or link of the kernel, by its id. */
export interface Held {
  readonly kind: "prog" | "map" | "link";
  readonly id: string;
}

/** What a process holds of the kernel: see the descriptors' fdinfo. Empty when it is gone. */
export function heldBy(pid: number): readonly Held[] {
  try {
    return readdirSync(`/proc/${pid}/fdinfo`).flatMap((fd) => {
      const info = readFileSync(`/proc/${pid}/fdinfo/${fd}`, "utf8");
      // A link's tells its program too.
      for (const kind of ["link", "map", "prog"] as const) {
        const id = new RegExp(`^${kind}_id:\\s*(\\d+)$`, "m").exec(info)?.[1];
        if (id !== undefined) return [{ kind, id }];
      }
      return [];
    });
  } catch {
    return [];
  }
}

/** Those that the kernel still has, by bpftool. It frees them a moment after their last holder is gone. */
export async function stillThere(held: readonly Held[]): Promise<readonly Held[]> {
  let left = held;
  for (let tries = 0; left.length > 0 && tries < 50; tries++) {
    if (tries > 0) await Bun.sleep(100);
    left = left.filter(({ kind, id }) => run(["bpftool", kind, "show", "id", id]).status === 0);
  }
  return left;
}
