import { closeSync, openSync, readSync, statSync } from "node:fs";
import { codeOf } from "../self/thrown.ts";
import { during } from "../self/whereabouts.ts";

/** A file's bytes, or why there are none. `absent` and `denied` are different answers. */
export type FileRead =
  | { readonly state: "read"; readonly path: string; readonly bytes: Uint8Array }
  | { readonly state: "absent" | "denied"; readonly path: string; readonly errno: string };

/** Reads files of the host. */
export interface HostFiles {
  /** Reads at most `limit` bytes (default 1 MiB): what lies under /proc, /sys and /boot is not trusted to be small. */
  read(path: string, limit?: number): FileRead;
  /** True when a file or folder of this name can be seen. */
  exists(path: string): boolean;
}

/**
 * `root` other than "/" serves tests and mounted images. What lies under /proc is read below `procRoot` instead, which
 * in a container may be where the host's procfs is mounted.
 */
export function hostFiles(root = "/", procRoot = "/proc"): HostFiles {
  const place = (path: string): string => path.replace(/^\/proc(?=\/)/, () => procRoot);
  return {
    read: (path, limit = 1 << 20) => readBounded(root, place(path), limit),
    exists: (path) => {
      try {
        return statSync(`${root}/${place(path)}`, { throwIfNoEntry: false }) !== undefined;
      } catch {
        return false; // A folder on the way may not be searched (tracefs is root's alone).
      }
    },
  };
}

/** The text of a file that was read, without the trailing newline; `undefined` otherwise. */
export const textOf = (file: FileRead): string | undefined =>
  file.state === "read" ? new TextDecoder().decode(file.bytes).trimEnd() : undefined;

function readBounded(root: string, path: string, limit: number): FileRead {
  let fd: number | undefined;
  using _ = during(path);
  try {
    fd = openSync(`${root}/${path}`, "r");
    // Files of /proc and /sys give a page at a time and tell no size.
    let bytes = new Uint8Array(Math.min(limit, 4096));
    let length = 0;
    for (let got = -1; got !== 0 && length < limit; length += got) {
      if (length === bytes.length) bytes = grown(bytes, limit);
      got = readSync(fd, bytes, length, bytes.length - length, null);
    }
    return { state: "read", path, bytes: bytes.subarray(0, length) };
  } catch (error) {
    const errno = codeOf(error) ?? "EIO";
    return { state: errno === "ENOENT" || errno === "ENOTDIR" ? "absent" : "denied", path, errno };
  } finally {
    if (fd !== undefined) closeSync(fd);
  }
}

/** The same bytes in a buffer that is twice as long, at most `limit`. */
function grown(bytes: Uint8Array, limit: number): Uint8Array<ArrayBuffer> {
  const longer = new Uint8Array(Math.min(limit, bytes.length * 2));
  longer.set(bytes);
  return longer;
}
