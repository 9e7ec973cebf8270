import { afterAll, beforeAll, expect, test } from "bun:test";
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { release, tmpdir } from "node:os";
import { join } from "node:path";
import fc from "fast-check";
import { zig } from "../../../assets/build/zig.ts";
import { btfOf } from "../../../src/btf/encode.ts";
import { type KernelConstant, kernelFields } from "../../../src/kernel/fields/fields.ts";
import { u8 } from "../../../src/kernel/synthetic/ctype.ts";
import { btfTypes } from "../../../src/kernel/synthetic/numbering.ts";
import { placeMembers } from "../../../src/kernel/synthetic/place.ts";
import { uapi } from "../../../src/kernel/synthetic/uapi.ts";
import { truthOf } from "../../lab/truth.ts";

const KERNEL_BTF = "/sys/kernel/btf/vmlinux";
const folder = mkdtempSync(join(tmpdir(), "offsetof-btf-"));
afterAll(() => rmSync(folder, { recursive: true }));

/** What programs read beside the members that the constants name: ways to them, and what lies inside. */
const beside = [
  "sock.__sk_common.skc_daddr",
  "sock_common.skc_addrpair",
  "sock.__sk_common.skc_portpair",
  "inet_sock.sk.__sk_common.skc_num",
  "tcp_sock.inet_conn.icsk_inet.sk.__sk_common.skc_family",
  "tcp_sock.inet_conn.icsk_inet.inet_sport",
  "sock.__sk_common.skc_net.net",
  "sock_common.skc_v6_daddr.in6_u.u6_addr8[15]",
  "sock_common.skc_v6_rcv_saddr.in6_u.u6_addr16[7]",
  "flowi6.saddr.in6_u.u6_addr32[3]",
  "flowi4.uli",
  "nf_conn.ct_net.net",
  "nf_conn.tuplehash[0].tuple.src.u3.ip",
  "nf_conn.tuplehash[0].tuple.src.u3.all[3]",
  "nf_conn.tuplehash[0].tuple.src.u3.in.s_addr",
  "nf_conn.tuplehash[1].tuple.src.u.tcp.port",
  "nf_conn.tuplehash[1].tuple.src.u.all",
  "nf_conn.tuplehash[1].tuple.src.l3num",
  "nf_conn.tuplehash[1].tuple.dst.u3.in6",
  "nf_conn.tuplehash[1].tuple.dst.u3.ip6[2]",
  "nf_conn.tuplehash[1].tuple.dst.u.udp.port",
  "nf_conn.tuplehash[1].tuple.dst.protonum",
  "nf_conn.tuplehash[1].tuple.dst.dir",
  "nf_conntrack_tuple_hash.tuple",
  "nf_conntrack_tuple.dst",
  "in6_addr.in6_u",
  "pt_regs.r15",
  "pt_regs.di",
  "pt_regs.orig_ax",
  "pt_regs.ip",
  "pt_regs.ss",
];
const paths = [...new Set(kernelFields.map(({ member }) => member as string)), ...beside];

let truth: Map<string, number | null>;
beforeAll(async () => {
  truth = await truthOf(KERNEL_BTF, paths);
});

const version = release().split(".").map(Number.parseFloat);

/** BTF of the true offsets of these constants. */
function made(isKnown: (constant: KernelConstant) => boolean = () => true) {
  const { structs, unplaced } = placeMembers((constant) => {
    const value = truth.get(kernelFields.find((each) => each.constant === constant)?.member ?? "");
    return isKnown(constant) && typeof value === "number" ? { value } : { why: "hidden" };
  });
  const [bytes, file] = [btfOf(btfTypes([...structs, ...uapi("x64", version)])), join(folder, "btf")];
  writeFileSync(file, bytes);
  return { bytes, file, unplaced };
}

test("every member lies where the kernel's own BTF has it, as bpftool reads both", async () => {
  expect([...truth].filter(([, offset]) => offset === null)).toEqual([]);
  const { file, unplaced } = made();
  expect(unplaced).toEqual([]);
  expect(await truthOf(file, paths)).toEqual(truth);
});

test("pahole reads every struct, none longer than the kernel's", () => {
  const { file } = made();
  const sizes = (btf: string) => {
    const { stdout } = Bun.spawnSync(["pahole", "--sizes", btf], { stderr: "ignore" });
    return new Map(
      stdout
        .toString()
        .split("\n")
        .map((line) => [line.split("\t")[0], Number(line.split("\t")[1])] as const),
    );
  };
  const [kernels, ours] = [sizes(KERNEL_BTF), sizes(file)];
  const longer = [...ours].filter(([name, size]) => size > (kernels.get(name) ?? 0));
  expect(longer).toEqual([]);
  expect([...ours.keys()]).toEqual(expect.arrayContaining(["tcp_sock", "sk_buff", "nf_conn", "flowi6"]));
});

test("a compiler lays the structs out like that", async () => {
  const { file } = made();
  const { stdout } = Bun.spawnSync(["bpftool", "btf", "dump", "file", file, "format", "c"]);
  const asserts = paths
    .filter((path) => !path.includes("[0].tuple.dst"))
    .map((path) => {
      const [struct = "", ...steps] = path.split(".");
      return `_Static_assert(__builtin_offsetof(struct ${struct}, ${steps.join(".")}) == ${truth.get(path)}, "${path}");`;
    });
  const child = Bun.spawn(["cc", "-x", "c", "-fsyntax-only", "-"], {
    stdin: Buffer.from(`${stdout}\n${asserts.join("\n")}\n`),
    stderr: "pipe",
  });
  expect(await new Response(child.stderr).text()).toBe("");
});

test("arm64's registers lie where Linux's header has them", async () => {
  const own = uapi("arm64", version).filter(({ name }) => /^(user_)?pt_regs$/.test(name));
  const asserts = own.flatMap((type) =>
    (type.kind === "enum" ? [] : type.members).map(
      ({ name, offset }) =>
        `_Static_assert(__builtin_offsetof(struct user_pt_regs, ${name}) == ${offset}, "");`,
    ),
  );
  const source = join(folder, "registers.c");
  writeFileSync(source, ["#include <asm/ptrace.h>", ...asserts].join("\n"));
  const flags = ["cc", "-target", "aarch64-linux-gnu", "-c", source, "-o", `${source}.o`];
  await zig(flags, { cwd: folder, cache: join(folder, "zig") });
  expect(asserts.length).toBe(8);
});

test("the same constants give the same bytes", () => {
  expect(made().bytes).toEqual(made().bytes);
});

test("whatever is not known is not there, and the rest stays where it is", async () => {
  const constants = kernelFields.map(({ constant }) => constant);
  await fc.assert(
    fc.asyncProperty(fc.subarray(constants), async (known) => {
      const { file, unplaced } = made((constant) => known.includes(constant));
      const told = await truthOf(file, paths);
      for (const { member } of kernelFields) {
        const isNamed = kernelFields.some((each) => each.member === member && known.includes(each.constant));
        const isTuple = member.startsWith("nf_conn.tuplehash");
        const areTuples = known.includes("offset_ct_origin") && known.includes("offset_ct_reply");
        const isThere = isTuple ? areTuples : isNamed;
        const isTold = !unplaced.some((each) => each.member === member);
        expect([member, isTold]).toEqual([member, isThere]);
        expect([member, told.get(member)]).toEqual([member, isThere ? (truth.get(member) ?? null) : null]);
      }
    }),
    { numRuns: 30 },
  );
});

test("one tuple alone has no place: the distance of both is an element's size", () => {
  const { unplaced } = made((constant) => constant !== "offset_ct_reply");
  const members = unplaced.map(({ member }) => member);
  expect(members).toEqual(["nf_conn.tuplehash[0].tuple", "nf_conn.tuplehash[1].tuple"]);
});

test("bit-fields of the wide vocabulary are the bits that they are in the kernel's own BTF", () => {
  const fields = { skc_ipv6only: 5, skc_reuse: 0, skc_reuseport: 4 };
  const wide = Object.entries(fields).map(([member, first]) => ({
    member: `sock_common.${member}`,
    type: u8,
    bits: { first, count: member === "skc_reuse" ? 4 : 1 },
    known: { value: 19 },
  }));
  const { structs } = placeMembers(() => ({ why: "hidden" }), wide);
  const file = join(folder, "bits");
  writeFileSync(file, btfOf(btfTypes(structs)));
  const lines = (btf: string) => {
    const { stdout } = Bun.spawnSync(["bpftool", "btf", "dump", "file", btf]);
    const [all = ""] = /STRUCT 'sock_common'[^[]*/.exec(stdout.toString()) ?? [];
    return all
      .split("\n")
      .flatMap(
        (line) =>
          /'(skc_ipv6only|skc_reuse|skc_reuseport)' .*(bits_offset=.*)$/.exec(line)?.slice(1, 3) ?? [],
      );
  };
  expect(lines(file).length).toBe(6);
  expect(lines(file)).toEqual(lines(KERNEL_BTF));
});

test("one of the constants that name a member will do, and two that disagree will not", () => {
  expect(made((constant) => constant !== "offset_ino").unplaced).toEqual([]);
  const { unplaced } = placeMembers((constant) => ({ value: constant === "offset_ino" ? 8 : 16 }));
  expect(unplaced).toContainEqual({ member: "net.ns.inum", why: "its constants disagree: 8, 16" });
});
