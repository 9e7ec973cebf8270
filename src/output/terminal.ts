import { fstatSync } from "node:fs";

/** Descriptors. To ask process.stdout or process.stderr for theirs loads all of the runtime's streams. */
export const STDOUT = 1;
export const STDERR = 2;

/** The major number of memory devices, /dev/null among them: include/uapi/linux/major.h. */
const MEM_MAJOR = 1;

/**
 * Whether a descriptor is a terminal. In most scripts it is no device, or /dev/null: that is known without loading the runtime's
 * streams.
 */
export function isTerminal(fd: typeof STDOUT | typeof STDERR): boolean {
  try {
    const stat = fstatSync(fd);
    if (!stat.isCharacterDevice() || ((stat.rdev >> 8) & 0xfff) === MEM_MAJOR) return false;
  } catch {
    return false; // it is closed
  }
  return (fd === STDOUT ? process.stdout : process.stderr).isTTY === true;
}
