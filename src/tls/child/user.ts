import { existsSync, readFileSync, readlinkSync } from "node:fs";

/** The user and group that own nothing, on every Linux (overflowuid); other programs run as this one too. */
const nobody = 65534;
/** Users from here on are nobody's by any convention (systemd's UIDS-GIDS.md); a process id is added. */
export const firstOwn = 0x7000_0000;

/** What decides which user the child becomes: its own user, and the files of this name in /proc/self. */
export interface Surroundings {
  readonly uid: number;
  /** Its number in /proc. */
  readonly pid: number;
  readonly uid_map: string;
  readonly gid_map: string;
  readonly setgroups: string;
}

/**
 * The number of the user and group that root's child becomes: one that no other process is, or in a user namespace that has not so many,
 * nobody. Null where there is nothing to give up: for an ordinary user, and for root of a user namespace in which there is no
 * other user to become (`unshare -r`), who has no more rights than any user once the capabilities are gone.
 */
export function childUser(from: Surroundings = surroundings()): number | null {
  const { uid, pid, uid_map, gid_map, setgroups } = from;
  if (uid !== 0) return null;
  const maps = [uid_map, gid_map].map((text) =>
    text.split("\n").map((line) => line.trim().split(/\s+/).map(Number)),
  );
  const isMapped = (id: number): boolean =>
    maps.every((lines) => lines.some(([first = 0, , count = 0]) => first <= id && id < first + count));
  if (isMapped(firstOwn + pid)) return firstOwn + pid;
  return isMapped(nobody) || setgroups.trim() !== "deny" ? nobody : null;
}

/** What uid_map and gid_map would say on a kernel without user namespaces, which has no such files. */
const allIds = "0 0 4294967295";

function surroundings(): Surroundings {
  const text = (name: string, otherwise: string): string => {
    const path = `/proc/self/${name}`;
    return existsSync(path) ? readFileSync(path, "latin1") : otherwise;
  };
  return {
    uid: Math.min(process.getuid?.() ?? 0, process.geteuid?.() ?? 0),
    pid: Number(readlinkSync("/proc/self")),
    uid_map: text("uid_map", allIds),
    gid_map: text("gid_map", allIds),
    setgroups: text("setgroups", "allow"),
  };
}
