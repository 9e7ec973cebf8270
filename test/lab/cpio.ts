/**
 * A file, folder or symbolic link in an archive. Owner and group are 0; times are 0, so that the same
 * entries always give the same bytes.
 */
export type CpioEntry =
  | { readonly kind: "file"; readonly path: string; readonly content: Uint8Array; readonly mode: number }
  | { readonly kind: "symlink"; readonly path: string; readonly target: string }
  | { readonly kind: "folder"; readonly path: string; readonly mode: number };

/**
 * The entries as an uncompressed cpio archive in the "newc" format (magic 070701), the form the Linux
 * kernel unpacks as initramfs (Documentation/driver-api/early-userspace/buffer-format.rst). Paths are
 * relative, without a leading slash. Folders must stand before what they hold.
 */
export function cpioArchive(entries: Iterable<CpioEntry>): Uint8Array<ArrayBuffer> {
  const parts: Uint8Array[] = [];
  let inode = 1;
  for (const entry of entries)
    parts.push(...cpioMember(inode++, entry.path, typeAndMode(entry), bodyOf(entry)));
  parts.push(...cpioMember(0, "TRAILER!!!", 0, NOTHING));
  return join(parts);
}

/** Folders that must be in an archive for these paths, each before what it holds. */
export function parentFolders(paths: Iterable<string>): string[] {
  const folders = new Set<string>();
  for (const path of paths) {
    const names = path.split("/").slice(0, -1);
    names.forEach((_, index) => {
      folders.add(names.slice(0, index + 1).join("/"));
    });
  }
  return [...folders].sort();
}

const NOTHING = new Uint8Array(0);
const S_IFDIR = 0o040000;
const S_IFREG = 0o100000;
const S_IFLNK = 0o120000;

function typeAndMode(entry: CpioEntry): number {
  if (entry.kind === "folder") return S_IFDIR | entry.mode;
  if (entry.kind === "symlink") return S_IFLNK | 0o777;
  return S_IFREG | entry.mode;
}

function bodyOf(entry: CpioEntry): Uint8Array {
  if (entry.kind === "file") return entry.content;
  return entry.kind === "symlink" ? new TextEncoder().encode(entry.target) : NOTHING;
}

function cpioMember(inode: number, path: string, mode: number, body: Uint8Array): Uint8Array[] {
  const name = new TextEncoder().encode(`${path}\0`);
  const links = 1;
  // ino, mode, uid, gid, nlink, mtime, filesize, devmajor, devminor, rdevmajor, rdevminor, namesize, check
  const fields = [inode, mode, 0, 0, links, 0, body.length, 0, 0, 0, 0, name.length, 0];
  const header = `070701${fields.map((field) => field.toString(16).padStart(8, "0")).join("")}`;
  const head = new TextEncoder().encode(header);
  return [head, name, padding(head.length + name.length), body, padding(body.length)];
}

/** Header with name, and body, each end on a multiple of 4 bytes. */
function padding(length: number): Uint8Array {
  return new Uint8Array((4 - (length % 4)) % 4);
}

function join(parts: readonly Uint8Array[]): Uint8Array<ArrayBuffer> {
  const whole = new Uint8Array(parts.reduce((sum, part) => sum + part.length, 0));
  let at = 0;
  for (const part of parts) {
    whole.set(part, at);
    at += part.length;
  }
  return whole;
}
