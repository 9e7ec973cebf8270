import { beforeAll, expect, test } from "bun:test";
import { Libbpf } from "../../../ffi/libbpf.ts";
import { bakeEmbedded } from "../../../src/bytecode/objects.ts";
import { no, yes } from "../../../src/host/answer.ts";
import { kernelFields } from "../../../src/kernel/fields/fields.ts";
import { assetBytes } from "../../../src/self/assets.ts";
import { verifyKernel } from "../../../src/verify/kernel-reads.ts";
import { truthOf } from "../../lab/truth.ts";

/** By the kernel's BTF as bpftool reads it. */
const truth = new Map<string, bigint>();
beforeAll(async () => {
  const members = await truthOf(
    "/sys/kernel/btf/vmlinux",
    kernelFields.map(({ member }) => member),
  );
  for (const { constant, member } of kernelFields) truth.set(constant, BigInt(members.get(member) ?? -1));
});

const ROUNDS = 3;
/** Verifies with the true constants, but for these. */
function verify(name: string, changes: Readonly<Record<string, bigint | null>> = {}, kprobes = yes("")) {
  const values = new Map<string, bigint | null>([...truth, ...Object.entries(changes)]);
  const bake = (filter: ReadonlyMap<string, bigint>) => bakeEmbedded(name, new Map([...values, ...filter]));
  return verifyKernel(new Libbpf(assetBytes("libbpf.so")), { bake, name, rounds: ROUNDS, kprobes });
}

test.each(["socket_reader", "socket_reader_old"])("%s reads the truth with the true constants", (name) => {
  const { comparisons, attached, unseen } = verify(name);
  expect(unseen).toEqual([]);
  expect(attached).toContain("raw_tp:tcp_rcv_space_adjust");
  for (const one of comparisons) expect(one).toEqual({ ...one, got: one.expected });
  const compared = new Set(comparisons.flatMap(({ constants }) => constants));
  expect(compared).toEqual(
    new Set([
      "offset_family",
      "offset_saddr",
      "offset_daddr",
      "offset_saddr_ipv6",
      "offset_daddr_ipv6",
      "offset_sport",
      "offset_dport",
      "offset_num",
      "offset_state",
      "offset_netns",
      "offset_ino",
      "offset_rtt",
      "offset_rtt_var",
    ]),
  );
  expect(new Set(comparisons.map(({ socket }) => socket)).size).toBe(4);
});

test.each([
  "offset_saddr",
  "offset_daddr",
  "offset_saddr_ipv6",
  "offset_daddr_ipv6",
  "offset_sport",
  "offset_dport",
  "offset_num",
  "offset_ino",
  "offset_rtt",
  "offset_rtt_var",
  "offset_family",
])("%s off by 2 is found out, and nothing else", (constant) => {
  const { comparisons } = verify("socket_reader", { [constant]: (truth.get(constant) ?? 0n) + 2n });
  const wrong = new Set(
    comparisons.filter(({ expected, got }) => expected !== got).flatMap(({ constants }) => constants),
  );
  if (constant === "offset_family") expect(wrong).toContain(constant);
  else expect([...wrong].filter((name) => name !== "offset_netns")).toEqual([constant]);
});

test("what is absent is not read", () => {
  const { comparisons } = verify("socket_reader", { offset_netns: null, offset_rtt: null });
  const missing = comparisons.filter(({ got }) => got === null).flatMap(({ constants }) => constants);
  expect(new Set(missing)).toEqual(new Set(["offset_netns", "offset_ino", "offset_rtt"]));
});

test("kprobes that may not be attached are not tried", () => {
  const { attached, refused } = verify("socket_reader", {}, no("kernel.ftrace_enabled is 0"));
  expect(attached.filter((where) => where.startsWith("kprobe:"))).toEqual([]);
  expect(refused.filter((why) => /^kprobe:\w+: kernel.ftrace_enabled is 0$/.test(why)).length).toBe(3);
});
