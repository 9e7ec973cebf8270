/** What keeps the runtime from starting, or ends it, is told in one line by the launcher: exit 4, and no crash page. */
import { beforeAll, expect, test } from "bun:test";
import { copyFileSync, readFileSync } from "node:fs";
import { version } from "../../package.json";
import { buildConfine } from "../confine.ts";
import { errorOf, executable, type Run, run, Scratch } from "./executable.ts";

let confine: string;
beforeAll(async () => {
  confine = await buildConfine();
});

const limitedTo = (kibibytes: number, ...args: string[]) =>
  run(["sh", "-c", `ulimit -v ${kibibytes} && exec "$@"`, "sh", executable, ...args]);
/** As a user of whom nobody else has a process, who may have so many tasks. */
const withTasks = (tasks: number, ...args: string[]) => {
  using scratch = new Scratch();
  copyFileSync(executable, scratch.at("offsetof"));
  run(["chmod", "755", scratch.path]);
  const user = ["setpriv", "--reuid=54321", "--regid=54321", "--clear-groups"];
  return run([...user, "prlimit", `--nproc=${tasks}`, scratch.at("offsetof"), ...args]);
};
const withoutProc = (...args: string[]) => {
  using root = new Scratch();
  copyFileSync(executable, root.at("offsetof"));
  return run(["chroot", root.path, "/offsetof", ...args]);
};

/** What needs nothing of the host is as it is elsewhere. */
function expectSpoken(ask: (...args: string[]) => Run): void {
  const asked = ["--version", "--help", "kernel -h", "bytecode --help", "bytecode list --help"];
  for (const words of asked) {
    const args = words.split(" ");
    expect(ask(...args)).toEqual(run([executable, ...args]));
  }
}

/** One object, the same in words, and nothing of the runtime's report of a crash. */
function expectTold(ask: (...args: string[]) => Run, code: string, words: string): void {
  const json = ask("run", "--format", "json");
  expect([json.status, json.stdout]).toEqual([4, ""]);
  expect(errorOf(json)).toMatchObject({ code, message: expect.stringContaining(words) });
  const table = ask("run", "--format", "table");
  expect(table).toEqual({ status: 4, stdout: "", stderr: `offsetof: ${errorOf(json).message}\n` });
  // A pipe reads JSON, unless one value is asked for.
  expect(errorOf(ask("detect"))).toEqual(errorOf(json));
  expect(ask("kernel", "--get", "offset_rtt")).toEqual(table);
}

test("the version alone is told without the runtime, on every host", () => {
  using scratch = new Scratch();
  const trace = ["strace", "-f", "-qq", "-o", scratch.at("trace")];
  expect(run([...trace, executable, "--version"])).toEqual({ status: 0, stdout: `${version}\n`, stderr: "" });
  const calls = readFileSync(scratch.at("trace"), "utf8").matchAll(/^\d+\s+(\w+)\(/gm);
  expect([...calls].map(([, call]) => call)).toEqual(["execve", "rt_sigaction", "write", "exit_group"]);
});

test("without /proc", () => {
  expectTold(withoutProc, "E_NO_PROC", "/proc is not mounted");
  expectSpoken(withoutProc);
});

test.each([150_000, 300_000])("with %p KiB of address space", (kibibytes) => {
  expectTold((...args) => limitedTo(kibibytes, ...args), "E_NO_MEMORY", "too little address space");
  expectSpoken((...args) => limitedTo(kibibytes, ...args));
});

test("where the address space ends later, or there is enough, no report of a crash is seen", () => {
  for (const kibibytes of [430_000, 440_000, 450_000, 500_000, 550_000, 1_180_000, 1_300_000, 2_000_000]) {
    const result = limitedTo(kibibytes, "run", "--format", "json");
    expect([kibibytes, [3, 4].includes(result.status)]).toEqual([kibibytes, true]);
    expect(result.stderr).not.toMatch(/Bun|bun\.report/);
    // glibc's own last words may stand before: __libc_message goes by writev(2), which nothing stands in for.
    const text = result.stderr.replace(/^Fatal glibc error: .*\n/, "");
    // Of several threads that find no memory at once, one says so.
    if (result.status === 4) expect(text).toMatch(/^\{"code":"E_NO_MEMORY",[^\n]*\}\n$/);
  }
});

test.each([1, 2])("with %p tasks", (tasks) => {
  expectTold((...args) => withTasks(tasks, ...args), "E_NO_TASK", "no thread can be started");
  expectSpoken((...args) => withTasks(tasks, ...args));
});

test("where tasks end later it is told, and a worker that cannot be started is no defect", () => {
  const ended = [3, 4, 5, 6, 7].map((tasks) => withTasks(tasks, "run", "--format", "json"));
  for (const result of ended) {
    expect(result.status).toBe(4);
    expect(errorOf(result).code).toBe("E_NO_TASK");
  }
});

test("without executable memory what needs none works, and all else says so", () => {
  const ask = (...args: string[]) => run([confine, "-x", executable, ...args]);
  expectSpoken(ask);
  expectTold(ask, "E_NO_JIT", "MemoryDenyWriteExecute");
});

test("a crash is told without the runtime's report, which shows the arguments", () => {
  const secret = "10.1.2.3";
  const trace = ["strace", "-f", "-qq", "-o", "/dev/null", "-e", "trace=openat"];
  const crash = [
    ...trace,
    "-e",
    "inject=openat:signal=SEGV:when=15",
    executable,
    "gateway",
    "0.0.0.0",
    secret,
  ];
  const result = run([...crash, "--format", "json"]);
  expect(errorOf(result)).toMatchObject({ code: "E_CRASHED" });
  expect([result.status, result.stdout]).toEqual([1, ""]);
  expect(result.stderr).not.toContain(secret);
});
