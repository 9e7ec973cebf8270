import { array, at, type CType, s32, struct, u8, u32, u64, union } from "../synthetic/ctype.ts";
import { PACKET_TYPE } from "./packet.ts";
import type { Version } from "./row.ts";
import { INET_BITS, REUSE } from "./socket.ts";
import { to } from "./typedefs.ts";

/** Where a member may be by what was measured, in bytes from the start of its struct; none where nothing was. */
type Places = (member: string) => readonly number[];

/** A member whose place follows from those of what is in it, or the other way round. */
export interface Derived {
  readonly member: string;
  readonly type: CType;
  /** For a bit-field: its lowest bit, counted from the byte at its place, and how many bits it has. */
  readonly bits?: { readonly first: number; readonly count: number };
  readonly since?: Version;
  readonly until?: Version;
  readonly from: (at: Places) => number | null;
  /** What it follows from. */
  readonly by: readonly string[];
}

const qstr = struct(
  "qstr",
  16,
  at(0, "", union("", 8, { "": struct("", 8, at(0, "hash", u32), at(4, "len", u32)), hash_len: u64 })),
  at(8, "name", to(u8.name)),
);
const path = struct("path", 16, at(0, "mnt", to("vfsmount")), at(8, "dentry", to("dentry")));
const vfsmount = struct("vfsmount", 32, at(0, "mnt_root", to("dentry")), at(8, "mnt_sb", to("super_block")));
const buffer = to("sk_buff");
const queue = struct("sk_buff_head", 24, at(0, "next", buffer), at(8, "prev", buffer), at(16, "qlen", u32));
const upid = struct("upid", 16, at(0, "nr", s32), at(8, "ns", to("pid_namespace")));

/** Where the first of two words is whose distance is known: one of them is measured, and the other fits at one place alone. */
function firstOf(
  places: Places,
  [first, second]: readonly [string, string],
  distance: number,
): number | null {
  const [ones, others] = [places(first), places(second)];
  const [fitting, ...more] = ones.filter((one) => others.includes(one + distance));
  const isMeasured = ones.length === 1 || others.length === 1;
  return isMeasured && more.length === 0 ? (fitting ?? null) : null;
}

/** A struct of two words: where it begins, when its words are where they should be. */
const pair = (
  member: string,
  type: CType,
  by: readonly [string, string],
  [start, distance]: readonly [number, number],
): Derived => ({
  member,
  type,
  by,
  from: (places) => {
    const first = firstOf(places, by, distance);
    return first === null ? null : first - start;
  },
});
const inside = (
  member: string,
  type: CType,
  by: readonly [string, string],
  at: number,
  distance: number,
): Derived => ({
  member,
  type,
  by,
  from: (places) => (firstOf(places, by, distance) === null ? null : at),
});

/** Bit-fields that were found together, by their lowest bits in the order of declaration, and how many each has. */
const fields = (
  struct: string,
  by: string,
  rows: Readonly<Record<string, readonly [first: number, count: number]>>,
  versions: Partial<Pick<Derived, "since" | "until">> = {},
): Derived[] =>
  Object.entries(rows).map(([member, [first, count]]) => ({
    member: `${struct}.${member}`,
    type: u8,
    bits: { first: first % 8, count },
    ...versions,
    by: [`${struct}.${by}`],
    from: (places) => {
      const [start, ...others] = places(`${struct}.${by}`);
      return start === undefined || others.length > 0 ? null : start + Math.floor(first / 8);
    },
  }));

const nameOf = ["dentry.d_name.len", "dentry.d_name.name"] as const;
const pathOf = ["file.f_path.mnt", "file.f_path.dentry"] as const;
const pwdOf = ["fs_struct.pwd.mnt", "fs_struct.pwd.dentry"] as const;
const queueOf = ["sock.sk_receive_queue.next", "sock.sk_receive_queue.qlen"] as const;
const mountOf = ["mount.mnt.mnt_root", "mount.mnt.mnt_sb"] as const;
const numberOf = ["pid.numbers[0].nr", "pid.numbers[1].ns"] as const;

/**
 * Structs of two members that lie within others: include/linux/dcache.h, path.h, pid.h, mount.h, skbuff.h; and bit-fields, net/sock.h,
 * inet_sock.h, linux/skbuff.h.
 */
export const derived: readonly Derived[] = [
  pair("dentry.d_name", qstr, nameOf, [4, 4]),
  inside("qstr.len", u32, nameOf, 4, 4),
  inside("qstr.name", to(u8.name), nameOf, 8, 4),
  pair("file.f_path", path, pathOf, [0, 8]),
  pair("fs_struct.pwd", path, pwdOf, [0, 8]),
  pair("mount.mnt", vfsmount, mountOf, [0, 8]),
  inside("path.mnt", to("vfsmount"), pathOf, 0, 8),
  inside("path.dentry", to("dentry"), pathOf, 8, 8),
  pair("pid.numbers", array(upid, 1), numberOf, [0, 24]),
  pair("signal_struct.pids", array(to("pid"), 4), ["signal_struct.pids[1]", "signal_struct.pids[2]"], [8, 8]),
  pair("sock.sk_receive_queue", queue, queueOf, [0, 16]),
  inside("sk_buff_head.next", buffer, queueOf, 0, 16),
  inside("sk_buff_head.prev", buffer, queueOf, 8, 16),
  inside("sk_buff_head.qlen", u32, queueOf, 16, 16),
  inside("upid.nr", s32, numberOf, 0, 24),
  inside("upid.ns", to("pid_namespace"), numberOf, 8, 24),
  ...fields("sock_common", REUSE, { skc_reuse: [0, 4], skc_reuseport: [4, 1], skc_ipv6only: [5, 1] }),
  ...fields("sk_buff", PACKET_TYPE, { pkt_type: [0, 3] }),
  // Since Linux 6.6 they are bits of inet_flags.
  ...fields(
    "inet_sock",
    INET_BITS,
    { freebind: [2, 1], transparent: [5, 1], bind_address_no_port: [8, 1] },
    { until: [6, 6] },
  ),
];
