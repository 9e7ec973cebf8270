import { readFileSync, readlinkSync, statSync } from "node:fs";

/** A file of procfs; null where it cannot be read. */
export function read(path: string): string | null {
  try {
    return readFileSync(path, "latin1");
  } catch {
    return null;
  }
}

/** Lines of /proc/PID/status by their names. */
export const statusLinesOf = (pid: number | string): ReadonlyMap<string, string> =>
  new Map(
    (read(`/proc/${pid}/status`) ?? "")
      .split("\n")
      .map((line) => [line.slice(0, line.indexOf(":")), line.slice(line.indexOf(":") + 1).trim()]),
  );

/** The fields of /proc/PID/stat, from the third on, which is the state; as proc(5) numbers them. */
export function statFieldsOf(pid: number | string): (field: number) => string | undefined {
  const text = read(`/proc/${pid}/stat`) ?? "";
  const fields = text.slice(text.lastIndexOf(")") + 2).split(" ");
  return (field) => fields[field - 3];
}

/** The inode number of a namespace of a process; null where it cannot be told. */
export function namespaceOf(pid: number | string, name: string): number | null {
  try {
    const [, number] = /\[(\d+)\]$/.exec(readlinkSync(`/proc/${pid}/ns/${name}`)) ?? [];
    return number === undefined ? null : Number(number);
  } catch {
    return null;
  }
}

/** Whether users and groups are numbered here as in the first user namespace. */
export const isFirstNumbering = (): boolean =>
  ["uid_map", "gid_map"].every((file) => /^\s*0\s+0\s+4294967295\s*$/.test(read(`/proc/self/${file}`) ?? ""));

/** PROC_PID_INIT_INO: the first pid namespace. */
const FIRST_PIDS = 0xeffffffc;
/** Whether this process is in the first pid namespace, in which its numbers are those that the kernel gives. */
export const isFirstPids = (): boolean => namespaceOf("self", "pid") === FIRST_PIDS;

/** A device number as the kernel has it: major << 20 | minor. @param dev as stat(2) tells it */
export function kernelDevice(dev: bigint): number {
  const major = ((dev >> 8n) & 0xfffn) | ((dev >> 32n) & 0xfffff000n);
  const minor = (dev & 0xffn) | ((dev >> 12n) & 0xffffff00n);
  return Number((major << 20n) | minor);
}

/** Whether anything lies at a path. @throws the system's error where that cannot be told, as for want of permission */
export const isThere = (path: string): boolean => statSync(path, { throwIfNoEntry: false }) !== undefined;

/** Bytes of an object of each cache of the kernel's allocator, by its name; empty where it does not tell. */
export function objectSizes(): ReadonlyMap<string, number> {
  const rows = (read("/proc/slabinfo") ?? "").matchAll(/^(\S+) +\d+ +\d+ +(\d+) /gm);
  return new Map([...rows].map(([, name = "", size]) => [name, Number(size)]));
}

/** Bytes of an object of such a cache, without what the allocator adds to it; undefined where it does not tell. */
export function objectSizeOf(name: string): number | undefined {
  const text = read(`/sys/kernel/slab/${name}/object_size`);
  return text === null || text.trim() === "" ? undefined : Number(text);
}

/** Bytes of a page of memory here: AT_PAGESZ of getauxval(3). */
export function pageSize(): number | undefined {
  const words = new BigUint64Array(new Uint8Array(readFileSync("/proc/self/auxv")).buffer);
  const at = words.findIndex((word, index) => index % 2 === 0 && word === AT_PAGESZ);
  return at < 0 ? undefined : Number(words[at + 1]);
}
const AT_PAGESZ = 6n;
