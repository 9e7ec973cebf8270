import { expect, test } from "bun:test";
import { join } from "node:path";
import { hang } from "../../until.ts";

const run = (
  program: string,
  args: readonly string[] = [],
  env: Record<string, string> = {},
  below: readonly string[] = [],
): unknown => {
  const command = [...below, process.execPath, join(import.meta.dir, program), ...args];
  const { stdout, stderr, exitCode } = Bun.spawnSync(command, {
    env: { ...process.env, ...env },
    timeout: hang,
  });
  expect({ exitCode, stderr: stderr.toString() }).toEqual({ exitCode: 0, stderr: "" });
  return JSON.parse(stdout.toString());
};

test("what an address leads to stays alive until the call has returned", () => {
  expect(run("addresses.program.ts", [], { BUN_JSC_slowPathAllocsBetweenGCs: "20" })).toEqual([]);
});

// Without CONFIG_SWAP the kernel refuses madvise(MADV_WILLNEED) of memory so, which the runtime asks for where it needs more.
test("errno is the call's, whatever the runtime asked the kernel for meanwhile", () => {
  const refusing = ["strace", "-f", "-qq", "-e", "trace=madvise", "-e", "inject=madvise:error=EBADF"];
  const quiet = [...refusing, "-o", "/dev/null"];
  expect(run("errno.program.ts", [], { BUN_JSC_slowPathAllocsBetweenGCs: "1" }, quiet)).toEqual([]);
});

test("what a TLS library has freed is not handed to it again", () => {
  const folder = "/usr/lib/x86_64-linux-gnu";
  const thrown = run("freed.program.ts", [join(folder, "libcrypto.so.3"), join(folder, "libssl.so.3")]);
  const uses = ["handshake", "version", "write", "free", "take", "put", "type"];
  expect(thrown).toEqual(Object.fromEntries(uses.map((use) => [use, "ClosedError"])));
});
