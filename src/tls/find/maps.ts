/**
 * A file that a process may execute from, as /proc/PID/maps tells it (proc_pid_maps(5)). The text is of the kernel, but the
 * path in it is whatever a process chose to name its file.
 */
export interface FileMapping {
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
export function parseMaps(text: string): readonly FileMapping[] {
  const mappings: FileMapping[] = [];
  // Only a newline ends a line: a path may hold a carriage return and what looks like a line behind it.
  for (const each of text.split("\n")) {
    const [, start, end, device, inode, path] = line.exec(each) ?? [];
    if (start === undefined || path === undefined) continue;
    mappings.push({ range: `${start}-${end}`, device: device ?? "", inode: inode ?? "", path });
  }
  return mappings;
}

const deletedSuffix = " (deleted)";
const escapedNewline = "\\012";
/** Newlines of one path of which each may be written out; more are taken to be all alike. */
const mostNewlines = 6;

/** Where a file may lie. `deleted`: it lies there no longer. */
export interface WrittenPath {
  readonly path: string;
  readonly deleted: boolean;
}

/**
 * The paths that one of the kernel's own links in procfs may stand for, likeliest first. A file may well be called
 * `x (deleted)`: whether it is only the file itself can tell.
 */
export function pathsOfLink(text: string): readonly WrittenPath[] {
  const whole = { path: text, deleted: false };
  return text.endsWith(deletedSuffix)
    ? [whole, { path: text.slice(0, -deletedSuffix.length), deleted: true }]
    : [whole];
}

/** The paths that one of maps may stand for, likeliest first: there a newline is `\\012`, as a name's own `\\012` is. */
export function pathsOf(written: string): readonly WrittenPath[] {
  const pieces = written.split(escapedNewline);
  const whole = pieces.join("\n");
  const mixed = pieces.length - 1 > mostNewlines ? [] : everyJoint(pieces);
  const texts = [...new Set([written, whole, ...mixed])];
  const deleted = pathsOfLink(whole).filter((one) => one.deleted);
  return [...texts.map((path) => ({ path, deleted: false })), ...deleted];
}

/** The pieces put together in every way, by newlines and by what stands for them. */
const everyJoint = ([first = "", ...rest]: readonly string[]): readonly string[] =>
  rest.reduce<readonly string[]>(
    (texts, piece) => texts.flatMap((text) => [`${text}\n${piece}`, `${text}${escapedNewline}${piece}`]),
    [first],
  );

/** The path to show for one that leads nowhere. */
export const shownPath = (paths: readonly WrittenPath[]): WrittenPath =>
  paths.at(-1) ?? { path: "", deleted: false };
