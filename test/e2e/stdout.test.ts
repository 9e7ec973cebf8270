/** Results that cannot be written are failures that say so, whatever the command. */
import { afterAll, beforeAll, expect, test } from "bun:test";
import { copyFileSync, existsSync } from "node:fs";
import { errorOf, executable, run, Scratch } from "./executable.ts";

const scratch = new Scratch();
afterAll(() => scratch[Symbol.dispose]());
beforeAll(() => copyFileSync("/usr/lib/x86_64-linux-gnu/libssl.so.3", scratch.at("libssl.so.3")));

const commands = [
  "",
  "--help",
  "--version",
  "kernel --source btf",
  "kernel --source btf --format env",
  "kernel --source btf --format table",
  "kernel --source btf --format header",
  "kernel --source btf --get offset_daddr",
  "tls SCRATCH/libssl.so.3 --source code,table",
  "detect",
  "config",
  "btf --source btf -o -",
  "bytecode list",
  "bytecode extract socket_reader --source btf -o -",
  "bytecode extract socket_reader --source btf -o SCRATCH/reader.o",
  "gateway 127.0.0.1 127.0.0.1",
  "echo 127.0.0.1 127.0.0.1 | OFFSETOF gateway --batch",
].map((line) => (line.includes("OFFSETOF") ? line : `OFFSETOF ${line}`));

const places = [
  { name: "is closed", to: ">&-", errno: "EBADF (it is closed)" },
  { name: "is a full disk", to: "> /dev/full", errno: "ENOSPC" },
];

test.each(places.flatMap((place) => commands.map((command) => ({ ...place, command }))))(
  "$command: standard output that $name",
  ({ command, to, errno }) => {
    const line = command.replace("OFFSETOF", executable).replace("SCRATCH", scratch.path);
    const result = run(["bash", "-c", `exec ${to}; ${line}`]);
    expect([result.status, result.stdout]).toEqual([1, ""]);
    const message = `standard output cannot be written: ${errno}`;
    if (command.includes("--get") || /--format (env|table|header)/.test(command))
      expect(result.stderr).toContain(`offsetof: ${message}\n`);
    else {
      const [last = ""] = result.stderr.trimEnd().split("\n").slice(-1);
      expect(errorOf({ ...result, stderr: last })).toEqual({ code: "E_OUTPUT", message });
    }
  },
);

test.each(commands)("%s: a reader that has gone before anything is written has had enough", (command) => {
  const line = command.replace("OFFSETOF", executable).replace("SCRATCH", scratch.path);
  const result = run(["bash", "-c", `exec > >(exec true); wait $!; ${line}`]);
  expect([0, 3]).toContain(result.status);
  expect(result.stderr).not.toContain("E_OUTPUT");
});

test("what goes into a file needs no standard output, and an empty one is no closed one", () => {
  const file = scratch.at("kernel.btf");
  const result = run(["bash", "-c", `exec >&-; ${executable} btf --source btf -o ${file}`]);
  expect([0, 3]).toContain(result.status);
  expect(existsSync(file)).toBe(true);
  for (const to of ["> /dev/null", "1<> /dev/null", ">> /dev/null"])
    expect(run(["bash", "-c", `exec ${to}; ${executable} config`])).toEqual({
      status: 0,
      stdout: "",
      stderr: "",
    });
});
