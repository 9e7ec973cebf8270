import { isAtLeast } from "../../host/identity.ts";
import type { CType } from "../synthetic/ctype.ts";
import { cgroup, cssSet, kernfsNode } from "./cgroup.ts";
import { type Derived, derived } from "./derived.ts";
import { dentry, fdtable, file, filesStruct, fsStruct, inode, mount, superBlock, vfsmount } from "./file.ts";
import { namespaces, nsproxy } from "./namespaces.ts";
import { netDevice, skBuff } from "./packet.ts";
import { kiocb } from "./requests.ts";
import type { Struct, Version } from "./row.ts";
import { signalStruct, ttyDriver, ttyFile, ttyStruct } from "./signal.ts";
import {
  inetConnectionSock,
  inetSock,
  ipv6Pinfo,
  kmemCache,
  netlinkSock,
  proto,
  protoOps,
  sock,
  sockCommon,
  socket,
  tcpSock,
  unixAddress,
  unixSock,
} from "./socket.ts";
import { blockDevice, gendisk, irqaction, kobject, requestQueue } from "./sysfs.ts";
import { cred, mmStruct, pid, taskStruct } from "./task.ts";

/** Every struct that a crawl comes to. */
const structs: readonly Struct[] = [
  taskStruct,
  cred,
  mmStruct,
  pid,
  signalStruct,
  ttyStruct,
  ttyDriver,
  ttyFile,
  nsproxy,
  ...Object.values(namespaces),
  filesStruct,
  fdtable,
  file,
  inode,
  dentry,
  superBlock,
  vfsmount,
  mount,
  fsStruct,
  kernfsNode,
  cgroup,
  cssSet,
  socket,
  protoOps,
  proto,
  kmemCache,
  sockCommon,
  sock,
  inetSock,
  ipv6Pinfo,
  inetConnectionSock,
  tcpSock,
  unixSock,
  unixAddress,
  netlinkSock,
  skBuff,
  netDevice,
  kobject,
  gendisk,
  blockDevice,
  requestQueue,
  irqaction,
  kiocb,
];

/** A member that is known by a crawl. */
export interface WideMember {
  /** `type.member`. */
  readonly member: string;
  readonly type: CType;
  /** For a bit-field: its lowest bit, counted from the byte at its place, and how many bits it has. */
  readonly bits?: NonNullable<Derived["bits"]>;
  readonly since?: Version;
  readonly until?: Version;
}

/** Whether a member is told by its own name: an element of an array is not, nor what a constant tells already. */
const isTold = (member: string, { isNamed }: { readonly isNamed?: true }): boolean =>
  !member.includes("[") && isNamed !== true;

/** Every member that a crawl tells, struct by struct. */
export const wideMembers: readonly WideMember[] = [
  ...structs.flatMap(({ name, members }) =>
    [...members]
      .filter(([member, row]) => isTold(member, row))
      .map(([member, { type, since, until }]) => ({
        member: `${name}.${member}`,
        type,
        ...(since && { since }),
        ...(until && { until }),
      })),
  ),
  ...derived.map(({ from: _, by: __, ...row }) => row),
];

/** Why a kernel of this version has no such member; null where it may have it. */
export function whyAbsent(
  { since, until }: WideMember,
  version: readonly [number, number, number],
): string | null {
  if (since !== undefined && !isAtLeast(version, ...since)) return `it came with Linux ${since.join(".")}`;
  if (until !== undefined && isAtLeast(version, ...until)) return `it went with Linux ${until.join(".")}`;
  return null;
}
