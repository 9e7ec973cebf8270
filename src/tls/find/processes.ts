import { closeSync, openSync, readdirSync, readlinkSync, readSync, statSync } from "node:fs";
import { nameOf } from "../../input/name.ts";
import { isGone } from "../../self/thrown.ts";
import { during } from "../../self/whereabouts.ts";
import type { Budget } from "./budget.ts";
import { type FileMapping, parseMaps } from "./maps.ts";

/** A file that processes execute from. */
export interface MappedFile extends Pick<FileMapping, "device" | "inode" | "path"> {
  /** For each process that has the file mapped, where. Processes of root and of this user come first. */
  readonly uses: { readonly pid: number; readonly range: string }[];
}

/** What the processes of a procfs have mapped. */
export interface Processes {
  /** Each file once, as far as maps can tell. */
  readonly files: readonly MappedFile[];
  readonly count: number;
  /** Processes whose maps were read whole; of one that ended meanwhile there is nothing. */
  readonly read: readonly number[];
  /** Processes whose maps may not be read. */
  readonly denied: readonly number[];
  /** Processes whose maps are longer than the {@link longestMaps} bytes that are read of each. */
  readonly cut: readonly number[];
  /** Other users' processes for whose maps no time, or no room, was left. */
  readonly unread: readonly number[];
}

/** Whose processes are read with bounds: a user can have many, and many files mapped in each. */
export interface Others {
  readonly isOwn: (pid: number) => boolean;
  readonly budget: Budget;
  /** Default: all of procfs. */
  readonly only?: readonly number[];
}

/** How many mapped files of other users' processes are kept. */
const mostOfOthers = 200_000;

/** Bytes. A process with the most mappings a kernel allows by default (65,530), of usual paths, has less. */
const longestMaps = 16 << 20;

/** What maps know a file by. The path too: on btrfs two subvolumes may have one device and inode here. */
export const keyOf = ({ device, inode, path }: Pick<FileMapping, "device" | "inode" | "path">): string =>
  `${device} ${inode} ${path}`;

/**
 * Reads the maps of all processes but this one, each once and with bounds. One that ends meanwhile is passed over. Root's and
 * this user's come first; then the others', of each user one in turn, as far as time and room for them reach.
 *
 * @param proc where procfs is mounted @throws the system's error when that cannot be listed
 */
export function readProcesses(proc: string, { isOwn, budget, only }: Others): Processes {
  const own = ownPid(proc);
  const pids = (only ?? pidsIn(proc)).filter((pid) => pid !== own).sort((a, b) => a - b);
  const files = new Map<string, MappedFile>();
  const denied: number[] = [];
  const cut: number[] = [];
  const unread: number[] = [];
  const buffer = Buffer.allocUnsafe(64 << 10);
  const read = (pid: number): void => {
    using _ = during(`process ${pid}`);
    try {
      const { text, isWhole } = readMaps(`${proc}/${pid}/maps`, buffer);
      if (!isWhole) cut.push(pid);
      for (const { range, device, inode, path } of parseMaps(text)) {
        const key = keyOf({ device, inode, path });
        const known = files.get(key);
        const use = { pid, range };
        if (known === undefined) files.set(key, { device, inode, path, uses: [use] });
        else if (known.uses.at(-1)?.pid !== pid) known.uses.push(use);
      }
    } catch (error) {
      if (!isGone(error)) denied.push(pid);
    }
  };
  const others: number[] = [];
  for (const pid of pids) {
    if (isOwn(pid)) read(pid);
    else others.push(pid);
  }
  const most = files.size + mostOfOthers;
  for (const pid of inTurns(others, proc)) {
    if (budget.isSpent || files.size >= most) unread.push(pid);
    else budget.spend(() => read(pid));
  }
  const unknown = new Set([...denied, ...cut, ...unread]);
  const ascending = (all: number[]) => all.sort((a, b) => a - b);
  return {
    files: [...files.values()],
    count: pids.length,
    read: pids.filter((pid) => !unknown.has(pid)),
    denied: ascending(denied),
    cut: ascending(cut),
    unread,
  };
}

const pidsIn = (proc: string): number[] =>
  readdirSync(proc)
    .filter((name) => /^\d+$/.test(name))
    .map(Number);

/** The first process of each user, then the second of each, and so on. */
function inTurns(pids: readonly number[], proc: string): readonly number[] {
  const turns: number[][] = [];
  const counts = new Map<number, number>();
  for (const pid of pids) {
    const uid = statSync(`${proc}/${pid}`, { throwIfNoEntry: false })?.uid ?? 0;
    const turn = counts.get(uid) ?? 0;
    counts.set(uid, turn + 1);
    const others = turns[turn];
    if (others === undefined) turns.push([pid]);
    else others.push(pid);
  }
  return turns.flat();
}

/** This process's number in the pid namespace of that procfs; null where it is not in it. */
function ownPid(proc: string): number | null {
  try {
    return Number(readlinkSync(`${proc}/self`));
  } catch {
    return null;
  }
}

/** The text of a maps file, cut behind its last whole line where it is longer than the buffer. */
function readMaps(path: string, buffer: Buffer): { text: string; isWhole: boolean } {
  const fd = openSync(path, "r");
  try {
    const pieces: Buffer[] = [];
    let length = 0;
    while (length < longestMaps) {
      const got = readSync(fd, buffer, 0, buffer.length, null);
      if (got === 0) break;
      pieces.push(Buffer.from(buffer.subarray(0, got)));
      length += got;
    }
    const text = nameOf(Buffer.concat(pieces));
    return length < longestMaps
      ? { text, isWhole: true }
      : { text: text.slice(0, text.lastIndexOf("\n") + 1), isWhole: false };
  } finally {
    closeSync(fd);
  }
}
