/** An old glibc, of which none is at hand, made of a newer one. */
import { readFileSync, writeFileSync } from "node:fs";
import { Elf } from "../../src/elf/elf.ts";

const symbolSize = 24;
const HIDDEN = 0x8000;
/** STT_FUNC, STT_GNU_IFUNC. A library looks for data of its own by their names too. */
const functions = [2, 10];
/** Bytes of struct Verdef up to its first Verdaux, by which it names itself. */
const definitionSize = 20;

/** An entry of a library's dynamic symbols. */
interface Entry {
  readonly name: string;
  readonly isFunction: boolean;
  readonly isDefined: boolean;
  /** The node's version, as `2.17`; undefined where it is not one of glibc's public ones. */
  readonly since: string | undefined;
  /** Places in the file of its value, and of its number in .gnu.version. */
  readonly value: number;
  readonly number: number;
}

/**
 * Makes the libraries of a glibc export no more functions than they did at an older version: what has a newer node is not found any more,
 * neither when a program is linked nor by dlsym(3), and the newest that is left of a name is its default. What they need of
 * each other stays.
 *
 * @param version what the library tells as its own, in whose place `newest` is written, e.g. `2.17`
 */
export function makeOlder(paths: readonly string[], version: string, newest: string): void {
  const libraries = paths.map((path) => ({ path, bytes: readFileSync(path), entries: entriesOf(path) }));
  const needed = new Set(
    libraries.flatMap(({ entries }) => entries.flatMap(({ name, isDefined }) => (isDefined ? [] : name))),
  );
  for (const { path, bytes, entries } of libraries) {
    const left = new Map<string, Entry & { since: string }>();
    for (const entry of entries) {
      const { name, isDefined, isFunction, since } = entry;
      if (!isDefined || !isFunction || since === undefined) continue;
      if (order(since, newest) <= 0) {
        const before = left.get(name);
        if (before === undefined || order(since, before.since) > 0) left.set(name, { ...entry, since });
      } else if (!needed.has(name)) bytes.writeBigUInt64LE(0n, entry.value); // the dynamic linker passes it over
    }
    for (const { number } of left.values()) bytes.writeUInt16LE(bytes.readUInt16LE(number) & ~HIDDEN, number);
    // gnu_get_libc_version's text is the end of another.
    for (let at = bytes.indexOf(`${version}\0`); at >= 0; at = bytes.indexOf(`${version}\0`, at))
      bytes.write(newest, at);
    writeFileSync(path, bytes);
  }
}

const order = (one: string, other: string): number => Bun.semver.order(`${one}.0`, `${other}.0`);

/** Layouts: gabi, "Symbol Table"; LSB, "Symbol Versioning". */
function entriesOf(path: string): readonly Entry[] {
  using elf = Elf.open(path);
  const bytes = readFileSync(path);
  const sections = elf.sections();
  const table = (name: string) => {
    const found = sections.find((one) => one.name === name);
    if (found === undefined) throw new Error(`${path} has no ${name}`);
    return found;
  };
  const [symbols, numbers, strings] = [table(".dynsym"), table(".gnu.version"), table(".dynstr").offset];
  const text = (at: number): string => bytes.toString("latin1", strings + at, bytes.indexOf(0, strings + at));
  const nodes = new Map<number, string>();
  for (let at = table(".gnu.version_d").offset, next = -1; next !== 0; at += next) {
    nodes.set(bytes.readUInt16LE(at + 4), text(bytes.readUInt32LE(at + definitionSize)));
    next = bytes.readUInt32LE(at + 16);
  }
  return Array.from({ length: symbols.size / symbolSize }, (_, index) => {
    const [at, number] = [symbols.offset + index * symbolSize, numbers.offset + 2 * index];
    const node = nodes.get(bytes.readUInt16LE(number) & ~HIDDEN) ?? "";
    return {
      name: text(bytes.readUInt32LE(at)),
      isFunction: functions.includes((bytes[at + 4] ?? 0) & 0xf),
      isDefined: bytes.readUInt16LE(at + 6) !== 0,
      since: /^GLIBC_(\d+\.\d+)/.exec(node)?.[1],
      value: at + 8,
      number,
    };
  });
}
