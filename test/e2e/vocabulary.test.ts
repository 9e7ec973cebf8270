import { expect, test } from "bun:test";
import { kernelFlags } from "../../src/commands/flags.ts";
import { vocabularies } from "../../src/kernel/vocabulary.ts";
import { truthOf } from "../lab/truth.ts";
import { documentOf, errorOf, executable, run } from "./executable.ts";

const KERNEL_BTF = "/sys/kernel/btf/vmlinux";
const ask = (...args: string[]) => run([executable, "kernel", "--vocabulary", ...args]);

test("each vocabulary is a choice of the flag", () => {
  expect(Object.keys(vocabularies)).toEqual([...kernelFlags.vocabulary.options]);
});

test.each(["datadog-cws", "deepflow"] as const)(
  "names of %s stand for members as bpftool finds them",
  async (name) => {
    const { constants = {} } = documentOf(ask(name, "--source", "btf")).kernel ?? {};
    const rows = vocabularies[name].filter((row) => /^\w+\.\w/.test(row.member) && !("isByte" in row));
    const truth = await truthOf(
      KERNEL_BTF,
      rows.map(({ member }) => member),
    );
    const told = rows.filter((row) => row.name in constants);
    expect(told.length).toBeGreaterThan(rows.length - 8);
    for (const row of told)
      expect([row.name, constants[row.name]]).toEqual([row.name, truth.get(row.member) ?? null]);
  },
);

test("values that a published layout of this kernel's series has: those of the first cache line move in none", () => {
  const { constants } = documentOf(ask("deepflow", "--source", "btf")).kernel ?? {};
  expect(constants).toMatchObject({
    struct_sock_family_offset: 16,
    struct_sock_saddr_offset: 4,
    struct_sock_daddr_offset: 0,
    struct_sock_dport_offset: 12,
    struct_sock_sport_offset: 14,
    struct_sock_skc_state_offset: 18,
    struct_sock_common_ipv6only_offset: 19, // a byte, not a bit-field
  });
  expect(Object.keys(constants ?? {}).filter((name) => name.includes("_bit_"))).toEqual([]);
});

test("names that are ours too are measured, alone, in the order of the document", () => {
  const result = ask("nettracer");
  const { constants, attached } = documentOf(result).kernel ?? {};
  expect(attached).not.toEqual([]);
  expect(Object.keys(constants ?? {}).sort()).toEqual(vocabularies.nettracer.map((row) => row.name).sort());
  expect(constants?.offset_rtt).toBe(Number(run([executable, "kernel", "--get", "offset_rtt"]).stdout));
  expect(Object.keys(documentOf(ask("tcptracer")).kernel?.constants ?? {}).length).toBe(8);
});

test("what is not known is null with its reason, and no variable or macro of it is made", () => {
  const guess = ask("datadog-cws", "--source", "guess");
  expect(guess.status).toBe(3);
  const { fields } = documentOf(guess).kernel ?? {};
  // Nothing of ours makes the kernel show one while it runs a program.
  expect(fields?.linux_binprm_argc_offset).toMatchObject({ value: null, member: "linux_binprm.argc" });
  expect(fields?.linux_binprm_argc_offset?.reason).toBeTruthy();
  expect(fields?.socket_sock_offset).toMatchObject({
    member: "socket.sk",
    evidence: { guess: [expect.any(Number)] },
  });
  const shell = ask("datadog-cws", "--source", "guess", "--format", "env");
  expect(shell.stdout).toMatch(/^SOCKET_SOCK_OFFSET=\d+$/m);
  expect(shell.stdout).not.toContain("BINPRM_ARGC");
  const header = ask("deepflow", "--source", "btf", "--format", "header");
  expect(header.stdout).toMatch(/^#define task__files_offset \d+$/m);
});

test.each([
  [["redis"], "datadog-cws"],
  [["deepflow", "--only", "offset_rtt"], "it takes no --only, --get or --member"],
  [["deepflow", "--member", "sock.sk_mark"], "it takes no --only, --get or --member"],
  [["deepflow", "--constants", "x.json"], "it takes no --constants"],
])("%p is wrong usage", (args, message) => {
  const result = ask(...args);
  expect([result.status, result.stdout]).toEqual([2, ""]);
  expect(errorOf(result).message).toContain(message);
});
