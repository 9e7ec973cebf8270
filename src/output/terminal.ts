import { fstatSync } from "node:fs";

/** Descriptors. To ask process.stdout or process.stderr for theirs loads all of the runtime's streams. */
export const STDOUT = 1;
export const STDERR = 2;

/** Of memory devices, /dev/null among them: include/uapi/linux/major.h. */
const MEM_MAJOR = 1;

/** Whether a person looks at it. What is no device, or one of memory, as in most scripts, is known without the streams. */
export function isTerminal(fd: typeof STDOUT | typeof STDERR): boolean {
  try {
    const stat = fstatSync(fd);
    if (!stat.isCharacterDevice() || ((stat.rdev >> 8) & 0xfff) === MEM_MAJOR) return false;
  } catch {
    return false; // it is closed
  }
  return (fd === STDOUT ? process.stdout : process.stderr).isTTY === true;
}
