import { expect, test } from "bun:test";
import { guestTimeout } from "./guest.ts";
import { ARCHITECTURES, chosenKernels, loadKernel } from "./kernels.ts";
import { truthOf } from "./truth.ts";

const HOST_BTF = "/sys/kernel/btf/vmlinux";

const KERNELS: readonly { readonly name: string; btf(): Promise<string> }[] = [
  { name: "this machine's kernel", btf: async () => HOST_BTF },
  ...chosenKernels(ARCHITECTURES, ["amd64"]).map((row) => ({
    name: row.name,
    btf: async () => (await loadKernel(row)).btf,
  })),
];

test.each(KERNELS)(
  "truth of $name agrees with pahole, a second reader of BTF",
  async ({ btf }) => {
    const file = await btf();
    const truth = await truthOf(file, [
      "tcp_sock.srtt_us",
      "tcp_sock.mdev_us",
      "inet_sock.inet_sport",
      "net.ns.inum",
      "nf_conn.tuplehash[1].tuple",
      "flowi4.uli.ports.sport",
    ]);
    const direct = (struct: string, member: string) => paholeOffset(file, struct, member);
    expect(truth.get("tcp_sock.srtt_us")).toBe(direct("tcp_sock", "srtt_us"));
    expect(truth.get("tcp_sock.mdev_us")).toBe(direct("tcp_sock", "mdev_us"));
    expect(truth.get("inet_sock.inet_sport")).toBe(direct("inet_sock", "inet_sport"));
    expect(truth.get("net.ns.inum")).toBe(direct("net", "ns") + direct("ns_common", "inum"));
    const tupleHash = direct("nf_conn", "tuplehash\\[2\\]");
    const tuple = direct("nf_conntrack_tuple_hash", "tuple");
    expect(truth.get("nf_conn.tuplehash[1].tuple")).toBe(
      tupleHash + paholeSize(file, "nf_conntrack_tuple_hash") + tuple,
    );
    // union flowi_uli starts with struct { be16 dport, sport } ports (include/net/flow.h).
    expect(truth.get("flowi4.uli.ports.sport")).toBe(direct("flowi4", "uli") + 2);
  },
  guestTimeout,
);

test("members of unions and anonymous structs have offsets", async () => {
  // struct sock_common starts with a union of the address pair: daddr at 0, rcv_saddr at 4 (include/net/sock.h).
  const truth = await truthOf(HOST_BTF, ["sock_common.skc_daddr", "sock_common.skc_rcv_saddr"]);
  expect([...truth.values()]).toEqual([0, 4]);
});

test("a member or struct the kernel does not have is null, the rest stays known", async () => {
  const truth = await truthOf(HOST_BTF, [
    "sock_common.no_such_member",
    "no_such_struct.member",
    "net.ns.no_such_member",
    "sock_common.skc_rcv_saddr",
  ]);
  expect([...truth.values()]).toEqual([null, null, null, 4]);
});

test("a file that is not BTF is an error naming the file", async () => {
  await expect(truthOf("/etc/hostname", ["net.ns"])).rejects.toThrow("/etc/hostname");
});

/** The offset in pahole's comment beside a direct member: `u32 srtt_us;  /*  1680     4 *\/`. */
function paholeOffset(btf: string, struct: string, member: string): number {
  return Number(
    new RegExp(`\\b${member}(?: __attribute__.*)?;\\s+/\\*\\s+(\\d+)\\s`).exec(pahole(btf, struct))?.[1],
  );
}

/** The size in bytes in pahole's last line: `/* size: 56, ... *\/`. */
function paholeSize(btf: string, struct: string): number {
  return Number(/\/\* size: (\d+)/.exec(pahole(btf, struct))?.[1]);
}

function pahole(btf: string, struct: string): string {
  return Bun.spawnSync(["pahole", "-C", struct, btf]).stdout.toString();
}
