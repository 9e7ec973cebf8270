import { beforeAll, expect, test } from "bun:test";
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { Btf, kinds } from "../../../src/btf/btf.ts";
import { InputError } from "../../../src/input/input.ts";
import { memberOffset, readKernelBtf } from "../../../src/kernel/fields/type-information.ts";
import { truthOf } from "../../lab/truth.ts";

const KERNEL_BTF = "/sys/kernel/btf/vmlinux";
let btf: Btf;
beforeAll(() => {
  btf = readKernelBtf(KERNEL_BTF);
});

test("members lie where bpftool says, nested, anonymous and missing ones included", async () => {
  const members = [
    "sock_common.skc_daddr", // in an anonymous struct in an anonymous union
    "sock_common.skc_net.net", // in a typedef of a struct
    "inet_sock.inet_sport",
    "tcp_sock.inet_conn.icsk_inet.sk.__sk_common.skc_num", // five structs deep
    "tcp_sock.srtt_us",
    "net.ns.inum",
    "flowi4.uli.ports.sport", // in a union
    "sk_buff.head",
    "task_struct.comm",
    "sock_common.no_such_member",
    "no_such_struct.member",
  ];
  const truth = await truthOf(KERNEL_BTF, members);
  expect([...truth.values()].filter((offset) => offset !== null).length).toBeGreaterThan(7);
  const ours = members.map((member) => {
    const offset = memberOffset(btf, member);
    return [member, typeof offset === "number" ? offset : null] as const;
  });
  expect(new Map(ours)).toEqual(truth);
});

test("a bit-field that starts inside a byte has no offset, one that starts with it has", async () => {
  // In the byte at 0 of struct iphdr; bpftool's reader refuses the one inside.
  const truth = await truthOf(KERNEL_BTF, ["iphdr.ihl"]);
  await expect(truthOf(KERNEL_BTF, ["iphdr.version"])).rejects.toThrow(
    "iphdr.version is a bit-field at bit 4",
  );
  expect(memberOffset(btf, "iphdr.ihl")).toBe(truth.get("iphdr.ihl") ?? -1);
  expect(memberOffset(btf, "iphdr.version")).toBe("it begins inside a byte");
});

test.each([
  ["no_such_struct.member", "no struct or union no_such_struct"],
  ["sock.no_such_member", "sock has no member no_such_member"],
  ["sock.sk_socket.file", "sock.sk_socket is a pointer: no member can be named behind it"],
  ["sock.sk_socket[1]", "sock.sk_socket is no array"],
  ["task_struct.comm[16]", "task_struct.comm has 16 elements"],
  ["sock", "it is no member"],
])("%s: %s", (member, why) => {
  expect(memberOffset(btf, member)).toBe(why);
});

test("a member in which nothing is has no offset, as the pointer to struct net without CONFIG_NET_NS", () => {
  const folder = mkdtempSync(join(tmpdir(), "btf-"));
  try {
    const source =
      "typedef struct {} possible_net_t; struct sock_common { int refcnt; possible_net_t skc_net; int cookie; int rest[]; } sock;";
    const file = join(folder, "kernel.btf");
    for (const command of [
      ["gcc", "-g", "-c", "-x", "c", "-", "-o", join(folder, "sock.o")],
      ["pahole", `--btf_encode_detached=${file}`, join(folder, "sock.o")],
    ])
      expect(Bun.spawnSync(command, { stdin: Buffer.from(source) }).exitCode).toBe(0);
    const told = ["refcnt", "skc_net", "cookie", "rest"].map((name) =>
      memberOffset(readKernelBtf(file), `sock_common.${name}`),
    );
    expect(told).toEqual([0, "nothing is in it", 4, 8]);
  } finally {
    rmSync(folder, { recursive: true });
  }
});

test("a file without BTF is an error that names it", () => {
  expect(() => readKernelBtf("/etc/passwd")).toThrow("/etc/passwd: BTF: no magic number (at offset 0x0)");
  expect(() => readKernelBtf("/no/such/file")).toThrow("/no/such/file: ENOENT");
});

/** BTF of one struct, `{ u32 pair; }`, in either byte order. */
function tiny(little: boolean): DataView {
  const strings = Buffer.from("\0pair\0u32\0thing\0");
  const types = [
    [6, (kinds.int << 24) >>> 0, 4, 32],
    [10, ((kinds.struct << 24) | 1) >>> 0, 4, 1, 1, 0],
  ].flat();
  const view = new DataView(new ArrayBuffer(24 + types.length * 4 + strings.length));
  view.setUint16(0, 0xeb9f, little);
  view.setUint8(2, 1);
  const head = [24, 0, types.length * 4, types.length * 4, strings.length];
  for (const [index, word] of [...head, ...types].entries()) view.setUint32(4 + index * 4, word, little);
  new Uint8Array(view.buffer).set(strings, 24 + types.length * 4);
  return view;
}
const read = ({ buffer }: DataView) => new Btf(new Uint8Array(buffer), { path: "x", at: 0x100 });

test("BTF of the other byte order is read too", () => {
  for (const little of [true, false]) expect(memberOffset(read(tiny(little)), "thing.pair")).toBe(0);
});

test.each<[what: string, at: number, word: number, message: string]>([
  ["types beyond the end", 12, 0xffff, "x: BTF: types beyond the end (at offset 0x108)"],
  ["strings beyond the end", 20, 0xffff, "x: BTF: strings beyond the end (at offset 0x110)"],
  [
    "a kind that is not known",
    44,
    31 << 24,
    "x: BTF: a type of kind 31, which is not known (at offset 0x128)",
  ],
  ["more members than there are", 44, (4 << 24) | 9, "x: BTF: a type beyond the end (at offset 0x128)"],
])("%s is an error that says where", (_what, at, word, message) => {
  const view = tiny(true);
  view.setUint32(at, word, true);
  expect(() => read(view)).toThrow(InputError);
  expect(() => read(view)).toThrow(message);
});

test("a struct whose type is itself ends as an error, not in a circle", () => {
  const view = tiny(true);
  view.setUint32(24 + 16 + 12 + 4, 2, true); // the member's type
  view.setUint32(24 + 16 + 12, 0, true); // which is anonymous
  expect(memberOffset(read(view), "thing.other")).toBe("thing has no member other");
  view.setUint32(24 + 16 + 4, kinds.typedef << 24, true);
  view.setUint32(24 + 16 + 8, 2, true);
  expect(() =>
    memberOffset(new Btf(new Uint8Array(view.buffer).slice(0), { path: "x" }), "thing.pair"),
  ).toThrow(/^x: BTF: /);
});

test("two structs of one name that differ in a member have none", () => {
  const strings = Buffer.from("\0pair\0u32\0thing\0");
  const struct = (at: number) => [10, ((kinds.struct << 24) | 1) >>> 0, 8, 1, 1, at];
  const of = (...offsets: number[]) => {
    const types = Uint32Array.from([6, (kinds.int << 24) >>> 0, 4, 32, ...offsets.flatMap(struct)]);
    const head = Uint32Array.from([0x1eb9f, 24, 0, types.byteLength, types.byteLength, strings.length]);
    return new Btf(
      Buffer.concat(
        [head, types, strings].map((part) => new Uint8Array(part.buffer, part.byteOffset, part.byteLength)),
      ),
      { path: "x" },
    );
  };
  expect(memberOffset(of(32, 32), "thing.pair")).toBe(4);
  expect(memberOffset(of(32, 0), "thing.pair")).toBe(
    "2 types are called thing, and have it at different places",
  );
});

test("BTF that is cut short anywhere is an error, never another crash", () => {
  const whole = new Uint8Array(tiny(true).buffer);
  for (let size = 0; size < whole.length; size++) {
    expect(() => memberOffset(new Btf(whole.slice(0, size), { path: "x" }), "thing.pair")).toThrow(
      InputError,
    );
  }
});

test("the kernel's whole BTF is read in one pass, each type where bpftool has it", () => {
  const dump = JSON.parse(
    Bun.spawnSync(["bpftool", "--json", "btf", "dump", "file", KERNEL_BTF]).stdout.toString(),
  ) as { types: { id: number; kind: string; name: string; size?: number }[] };
  const words: Record<string, number> = {
    STRUCT: kinds.struct,
    UNION: kinds.union,
    TYPEDEF: kinds.typedef,
    PTR: kinds.pointer,
  };
  expect(btf.end).toBe(dump.types.length + 1);
  for (const { id, kind, name, size } of dump.types) {
    const known = words[kind];
    if (known === undefined) continue;
    if (btf.kind(id) !== known || btf.name(id) !== (name === "(anon)" ? "" : name))
      throw new Error(`type ${id}: ${kind} ${name}`);
    if (size !== undefined && btf.sizeOf(id) !== size) throw new Error(`type ${id} has ${size} bytes`);
  }
});
