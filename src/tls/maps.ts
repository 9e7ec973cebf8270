/**
 * A file that a process may execute from, as /proc/PID/maps tells it (proc_pid_maps(5)). The text is of the kernel, but the
 * path in it is whatever a process chose to name its file.
 */
export interface Mapping {
  /** The name of the mapping in /proc/PID/map_files. */
  readonly range: string;
  /** Device, as the file system tells it: `fe:00`. On btrfs and overlayfs stat(2) may tell another. */
  readonly device: string;
  readonly inode: string;
  /** As written: a newline is `\012`, and what is gone ends in ` (deleted)`. */
  readonly path: string;
}

const line = /^0*([0-9a-f]+)-0*([0-9a-f]+) ..x. [0-9a-f]+ ([0-9a-f]+:[0-9a-f]+) ([1-9]\d*) +(\/.*)$/s;

/** The executable mappings of files. Lines of any other form are passed over. Linear in the text. */
export function parseMaps(text: string): readonly Mapping[] {
  const mappings: Mapping[] = [];
  // Only a newline ends a line: a path may hold a carriage return and what looks like a line behind it.
  for (const each of text.split("\n")) {
    const [, start, end, device, inode, path] = line.exec(each) ?? [];
    if (start === undefined || path === undefined) continue;
    mappings.push({ range: `${start}-${end}`, device: device ?? "", inode: inode ?? "", path });
  }
  return mappings;
}

const deletedSuffix = " (deleted)";

/**
 * The paths that one of maps may stand for, likeliest first. A file may well be called `x (deleted)` or `x\012`: which it
 * is only the file itself can tell. `deleted`: the file is at none of them.
 */
export function pathsOf(written: string): readonly { path: string; deleted: boolean }[] {
  const whole = written.replaceAll("\\012", "\n");
  const cut = whole.endsWith(deletedSuffix) ? whole.slice(0, -deletedSuffix.length) : null;
  const present = [...new Set([written, whole])].map((path) => ({ path, deleted: false }));
  return cut === null ? present : [...present, { path: cut, deleted: true }];
}

/** The path to show for one that leads nowhere. */
export const shownPath = (written: string): { path: string; deleted: boolean } =>
  pathsOf(written).at(-1) ?? { path: written, deleted: false };
