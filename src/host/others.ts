import { readdirSync, readFileSync } from "node:fs";

/**
 * Whether one of a process's or thread's four user ids is neither root's nor this user's.
 *
 * @param folder of it in procfs @throws the system's error where it is gone
 */
export function isOthers(folder: string): boolean {
  const own = ["0", String(process.geteuid?.() ?? 0)];
  const ids =
    /^Uid:(.*)$/m
      .exec(readFileSync(`${folder}/status`, "latin1"))?.[1]
      ?.trim()
      .split(/\s+/) ?? [];
  return ids.length !== 4 || !ids.every((id) => own.includes(id));
}

/** Whether a user is neither root nor this one. */
export const isOther = (uid: number): boolean => uid !== 0 && uid !== (process.geteuid?.() ?? 0);

/** The numbers of the processes of a procfs, as its folders are named; none where it cannot be read. */
export function pidsOf(proc: string): readonly string[] {
  try {
    return readdirSync(proc).filter((name) => /^\d+$/.test(name));
  } catch {
    return [];
  }
}
