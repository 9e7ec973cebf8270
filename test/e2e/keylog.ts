import { readFileSync } from "node:fs";
import * as v from "valibot";
import { type VerifiedTls, verifySchema } from "../../src/output/verify-schema.ts";
import { until } from "../until.ts";
import { executable, type Run, run, Scratch } from "./executable.ts";
import { type Held, heldBy } from "./held.ts";

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
  readonly #stdout: Promise<string>;
  readonly #stderr: Promise<void>;
  #said = "";

  /** @param prefix what starts it, such as prlimit(1) with its options */
  constructor(
    args: readonly string[],
    { cwd = "/", prefix = [] }: { cwd?: string; prefix?: readonly string[] } = {},
  ) {
    this.#process = Bun.spawn([...prefix, executable, ...args, "--verbose"], {
      cwd,
      env: { PATH: "/usr/sbin:/usr/bin:/sbin:/bin" },
      stdin: "ignore",
      stdout: "pipe",
      stderr: "pipe",
    });
    this.#stdout = new Response(this.#process.stdout).text();
    this.#stderr = this.#listen(this.#process.stderr);
  }

  async #listen(stream: ReadableStream<Uint8Array>): Promise<void> {
    const decoder = new TextDecoder();
    for await (const bytes of stream) this.#said += decoder.decode(bytes, { stream: true });
  }

  get pid(): number {
    return this.#process.pid;
  }

  get isOver(): boolean {
    return this.#process.exitCode !== null;
  }

  kill(signal: NodeJS.Signals): void {
    this.#process.kill(signal);
  }

  async end(): Promise<Run> {
    const stdout = await this.#stdout;
    await this.#stderr;
    return { status: await this.#process.exited, stdout, stderr: this.#said };
  }

  /** Waits until what is logged from then on is watched. @returns what the kernel holds for it */
  async watches(): Promise<readonly Held[]> {
    await until(() => this.isOver || this.#said.includes("from here on"));
    const held = heldBy(this.pid);
    if (held.length === 0) throw new Error(`it attached nothing: ${(await this.end()).stderr}`);
    return held;
  }
}
