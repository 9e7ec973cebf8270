import { readFileSync, realpathSync } from "node:fs";
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
  readonly process: Bun.Subprocess<"ignore", "pipe", "pipe">;

  constructor(args: readonly string[], cwd = "/") {
    this.process = Bun.spawn([executable, ...args], {
      cwd,
      env: { PATH: "/usr/sbin:/usr/bin:/sbin:/bin" },
      stdin: "ignore",
      stdout: "pipe",
      stderr: "pipe",
    });
  }

  async end(): Promise<Run> {
    const [stdout, stderr] = await Promise.all([
      new Response(this.process.stdout).text(),
      new Response(this.process.stderr).text(),
    ]);
    return { status: await this.process.exited, stdout, stderr };
  }

  /** Waits until it watches: until then what it compares is not to begin. */
  async watches(): Promise<void> {
    for (let tries = 0; tries < 200; tries++) {
      if (
        attachedTo(this.process.pid) > 0 &&
        attachedTo(this.process.pid) === (await settled(this.process.pid))
      )
        return;
      await Bun.sleep(50);
    }
    throw new Error("it attached nothing in 10 s");
  }
}

/** How many perf events a process has: one a function that is watched. */
function attachedTo(pid: number): number {
  const { stdout } = run(["find", `/proc/${pid}/fd`, "-lname", "*perf_event*"]);
  return stdout.split("\n").filter((line) => line !== "").length;
}

async function settled(pid: number): Promise<number> {
  await Bun.sleep(200);
  return attachedTo(pid);
}

/** Where a program was found by the shell, links followed. */
export const programAt = (name: string): string =>
  realpathSync(run(["sh", "-c", `command -v ${name}`]).stdout.trim());
