import { existsSync, mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import * as v from "valibot";
import { documentSchema } from "../../src/output/document.ts";
import { failureSchema } from "../../src/output/failure.ts";
import { jsonOf } from "../schema.ts";
import { hang } from "../until.ts";

export const repository = join(import.meta.dir, "../..");

/** The executable under test, as `npm test` built it. */
export const executable = join(repository, "dist/offsetof");
if (!existsSync(executable)) throw new Error(`${executable} is missing: run "npm run build" first`);

export interface Run {
  readonly status: number;
  readonly stdout: string;
  readonly stderr: string;
}

/** Runs a command without a terminal, a caller's environment or an end. */
export function run(
  command: readonly string[],
  options: { cwd?: string; env?: Record<string, string> } = {},
): Run {
  const { exitCode, signalCode, stdout, stderr } = Bun.spawnSync([...command], {
    cwd: options.cwd ?? "/",
    env: { PATH: "/usr/sbin:/usr/bin:/sbin:/bin", ...options.env },
    stdin: "ignore",
    timeout: hang,
  });
  if (signalCode !== undefined) throw new Error(`${command.join(" ")}: ended by ${signalCode}\n${stderr}`);
  return { status: exitCode, stdout: stdout.toString(), stderr: stderr.toString() };
}

/** The document on stdout, which must hold nothing else. */
export const documentOf = (result: Run) => v.parse(documentSchema, jsonOf("document", result.stdout));

/** The error on stderr, which must hold nothing else. */
export const errorOf = ({ stderr }: Run) => v.parse(failureSchema, jsonOf("error", stderr));

/** A folder that is gone when the test is. */
export class Scratch implements Disposable {
  readonly path = mkdtempSync(join(tmpdir(), "offsetof-e2e-"));

  at(name: string): string {
    return join(this.path, name);
  }

  [Symbol.dispose](): void {
    rmSync(this.path, { recursive: true });
  }
}
