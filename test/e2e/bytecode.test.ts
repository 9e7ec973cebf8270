import { beforeAll, describe, expect, test } from "bun:test";
import { kernelFields } from "../../src/kernel/fields/fields.ts";
import { buildConfine } from "../confine.ts";
import { truthOf } from "../lab/truth.ts";
import { documentOf, executable, type Run, run, Scratch } from "./executable.ts";

const ask = [executable, "kernel", "--format", "json"];

const strategies = [
  { strategy: "snapshot", program: "socket_guess", least: 30 },
  { strategy: "stepwise", program: "socket_stepwise", least: 13 },
] as const;

let truth: Map<string, number | null>;
/** Runs a command with the system calls of Linux 4.17, of bpf(2) above all. */
let linux417: readonly string[];
beforeAll(async () => {
  linux417 = [await buildConfine(), "-k", "4.17"];
  truth = await truthOf(
    "/sys/kernel/btf/vmlinux",
    kernelFields.map(({ member }) => member),
  );
});

/** The kernel's report, in which each guess is right and at least so many are made. */
function trueReport(result: Run, least: number) {
  const { kernel, diagnostics } = documentOf(result);
  const guessed = kernelFields.filter(
    ({ constant }) => kernel?.fields[constant]?.evidence.guess?.length === 1,
  );
  expect(guessed.length).toBeGreaterThanOrEqual(least);
  for (const { constant, member } of guessed)
    expect([constant, kernel?.fields[constant]?.evidence.guess]).toEqual([
      constant,
      [truth.get(member) ?? -1],
    ]);
  return { kernel, diagnostics };
}

test("the bpf(2) of Linux 4.17 has no BTF to list", () => {
  expect(run(["bpftool", "btf", "list"]).status).toBe(0);
  const { status, stdout, stderr } = run([...linux417, "bpftool", "btf", "list"]);
  expect(status).not.toBe(0);
  expect(stdout + stderr).toContain("Invalid argument");
});

describe.each(strategies)("$strategy", ({ strategy, program, least }) => {
  const command = [...ask, "--strategy", strategy];

  test("takes the object that is asked for, and says so", () => {
    for (const [bytecode, name] of [
      ["auto", program],
      ["current", program],
      ["old", `${program}_old`],
    ] as const) {
      const { kernel } = trueReport(run(command, { env: { OFFSETOF_BYTECODE: bytecode } }), least);
      expect(kernel?.bytecode).toBe(name);
    }
  });

  test("with the bpf(2) of Linux 4.17, without BTF, links and map flags, the old object tells the truth", () => {
    const { kernel } = trueReport(run([...linux417, ...command, "--bytecode", "old"]), least);
    expect(kernel?.bytecode).toBe(`${program}_old`);
  });

  test("a kernel that understands less than its version says is given the old object", async () => {
    const { kernel, diagnostics } = trueReport(await withRefusedMap(command, "EINVAL"), least);
    expect(kernel?.bytecode).toBe(`${program}_old`);
    expect(diagnostics).toContainEqual({
      code: "W_BYTECODE",
      message: expect.stringMatching(new RegExp(`^${program} is not used: .*EINVAL`)),
    });
  });

  test("what is forbidden stays forbidden: no other object is tried", async () => {
    const { kernel, diagnostics } = documentOf(await withRefusedMap(command, "EPERM"));
    expect(kernel?.bytecode).not.toBe(`${program}_old`);
    expect(diagnostics.map(({ code }) => code)).not.toContain("W_BYTECODE");
    expect(JSON.stringify(diagnostics)).toContain("EPERM");
  });
});

/** Runs a command for which the kernel refuses to make the program's first map while it is to be mapped. */
async function withRefusedMap(command: readonly string[], error: "EINVAL" | "EPERM"): Promise<Run> {
  using scratch = new Scratch();
  const trace = (name: string, ...options: string[]) =>
    run(["strace", "-qq", "-o", scratch.at(name), "-e", "trace=bpf", ...options, ...command]);
  /** Of the bpf(2) calls, the places of those that make that map, counted from 1. */
  const places = async (name: string): Promise<number[]> => {
    const lines = (await Bun.file(scratch.at(name)).text()).split("\n");
    const makesIt = /MAP_CREATE.*BPF_F_MMAPABLE.*map_name="(controls|steps)"/;
    return lines.flatMap((line, index) => (makesIt.test(line) ? [index + 1] : []));
  };
  trace("plain");
  const [first] = await places("plain");
  if (first === undefined) throw new Error("no map is made for mapping");
  // libbpf tries once more without the map's BTF.
  const result = trace("refused", "-e", `inject=bpf:error=${error}:when=${first}..${first + 1}`);
  expect((await places("refused")).slice(0, 2)).toEqual([first, first + 1]);
  return result;
}
