import { readdirSync, readFileSync, statSync } from "node:fs";
import { isGone } from "../self/thrown.ts";
import { isOnDeadMount } from "./mounts.ts";
import { isOthers } from "./others.ts";

/**
 * A process that may write to a file in memory by a descriptor or a mapping, though no thread of root's or this user's; one
 * that may not be looked at counts, for it may have it. A file in memory has no other way to it.
 *
 * @param file device and inode, as of stat(2) @param proc where procfs is mounted
 * @returns its number; null where there is none @throws the system's error where procfs cannot be listed
 */
export function otherHolder(
  file: { readonly dev: bigint; readonly ino: bigint },
  proc: string,
): number | null {
  const isNumber = (name: string): boolean => /^\d+$/.test(name);
  for (const pid of readdirSync(proc).filter(isNumber)) {
    try {
      for (const thread of readdirSync(`${proc}/${pid}/task`).filter(isNumber)) {
        const folder = `${proc}/${pid}/task/${thread}`;
        if (isOthers(folder) && holds(folder, file)) return Number(pid);
      }
    } catch (error) {
      if (!isGone(error)) return Number(pid);
    }
  }
  return null;
}

/** @throws the system's error where the thread is gone or may not be looked at */
function holds(folder: string, { dev, ino }: { readonly dev: bigint; readonly ino: bigint }): boolean {
  const isIt = (fd: string): boolean => {
    try {
      // The mount does not answer: what lies on it is no file in memory.
      if (isOnDeadMount(`${folder}/fdinfo/${fd}`)) return false;
      const stat = statSync(`${folder}/fd/${fd}`, { bigint: true });
      return stat.dev === dev && stat.ino === ino;
    } catch (error) {
      if (isGone(error)) return false; // closed meanwhile
      throw error;
    }
  };
  if (readdirSync(`${folder}/fd`).some(isIt)) return true;
  return readFileSync(`${folder}/maps`, "latin1").includes(` ${deviceOf(dev)} ${ino} `);
}

/** A device as maps writes it: st_dev of makedev(3), in hexadecimal. */
function deviceOf(dev: bigint): string {
  const major = ((dev >> 8n) & 0xfffn) | ((dev >> 32n) & 0xfffff000n);
  const minor = (dev & 0xffn) | ((dev >> 12n) & 0xffffff00n);
  return [major, minor].map((one) => one.toString(16).padStart(2, "0")).join(":");
}
