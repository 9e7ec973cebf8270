import { InputError, type InputFile } from "../input/input.ts";
import {
  cString,
  type ProgramHeader,
  Records,
  sectionNumber,
  segment,
  segmentAt,
  symbolEntry,
  typeOf,
} from "./records.ts";

/**
 * What a file tells the dynamic linker, found as that finds it: by PT_DYNAMIC, without section headers. Source: System V ABI (gabi),
 * chapter 5, "Dynamic Section" and "Hash Table"; DT_GNU_HASH: glibc's elf/dl-lookup.c.
 */

const tag = {
  null: 0,
  needed: 1,
  hash: 4,
  strtab: 5,
  symtab: 6,
  rela: 7,
  relasz: 8,
  strsz: 10,
  soname: 14,
  rpath: 15,
  runpath: 29,
  gnuHash: 0x6ffffef5,
  auxiliary: 0x7ffffffd,
  filter: 0x7fffffff,
  verdef: 0x6ffffffc,
  verdefnum: 0x6ffffffd,
  verneed: 0x6ffffffe,
  verneednum: 0x6fffffff,
} as const;
const knownTags: ReadonlySet<number> = new Set(Object.values(tag));
/** Elf64_Dyn, and the heads of the two hash tables. Bytes. */
const dynamicEntry = { size: 16, value: 8 } as const;
const gnuHash = { size: 16, buckets: 0, first: 4, bloom: 8, bloomWord: 8 } as const;
const hashHead = 8;
const word = 4;
/** Elf64_Verdef and Elf64_Verneed with their auxiliary records (LSB core, "Symbol Versioning"). Bytes. */
const verdef = { size: 20, flags: 2, aux: 12, next: 16, base: 1 };
const verdaux = { size: 8, name: 0 };
const verneed = { size: 16, count: 2, file: 4, aux: 8, next: 12 };
const vernaux = { size: 16, flags: 4, name: 8, next: 12, weak: 2 };

/** Bytes, and counts. They are far above anything real and keep a hostile file cheap. */
const limits = {
  section: 1 << 20,
  string: 4096,
  /** Steps through one hash chain; a linker makes them a few long. */
  chain: 4096,
  /** Version nodes that a file defines or needs; libc has some 60. */
  nodes: 4096,
};

/** A dynamic symbol (Elf64_Sym). `address` before relocation, `size` in bytes, 0 where it is not told. */
export interface DynamicSymbol {
  readonly type: number;
  readonly address: number;
  readonly size: number;
}

/** What the dynamic linker is told. Search paths are as written, `$ORIGIN` and all. */
export interface Dynamic {
  readonly needed: readonly string[];
  /** Libraries that are loaded to answer in its place (DT_FILTER, DT_AUXILIARY). */
  readonly filtees: readonly string[];
  readonly soname: string | null;
  readonly rpath: string | null;
  readonly runpath: string | null;
}

/** The version nodes of a file's dynamic symbols, e.g. `OPENSSL_3.2.0`; both empty where it has none. */
export interface VersionNodes {
  readonly defined: readonly string[];
  /** Nodes that it needs, by the soname that has to define them. Weak ones are left out: a linker only warns where they are missing. */
  readonly needed: readonly { readonly file: string; readonly nodes: readonly string[] }[];
}

/** The dynamic section of a file; all it answers is empty where the file has none. Every answer may throw an InputError. */
export class DynamicSection {
  readonly #file: InputFile;
  readonly #segments: readonly ProgramHeader[];
  /** Entries with a tag we know, in order; null before they were asked for. */
  #entries: readonly { readonly key: number; readonly value: number }[] | null = null;
  /** What it told; null before it was asked. */
  #told: Dynamic | null = null;
  /** The last value of each tag. */
  #values: ReadonlyMap<number, number> | null = null;
  /** Where in the file the address of a tag leads, as far as it was asked. */
  readonly #places = new Map<number, number>();
  /** The head of DT_GNU_HASH, which each name is looked up by. */
  #gnuHead: Records | null = null;

  /** The file stays the caller's. */
  constructor(file: InputFile, segments: readonly ProgramHeader[]) {
    this.#file = file;
    this.#segments = segments;
  }

  /** The libraries it asks for, its own name, and where to look. @throws InputError */
  told(): Dynamic {
    this.#told ??= this.#tell();
    return this.#told;
  }

  #tell(): Dynamic {
    const one = (key: number): string | null => {
      const offset = this.#value(key);
      return offset === undefined ? null : this.#string(offset);
    };
    const all = (...keys: number[]): string[] =>
      this.#all()
        .filter(({ key }) => keys.includes(key))
        .map(({ value }) => this.#string(value));
    return {
      needed: all(tag.needed),
      filtees: all(tag.filter, tag.auxiliary),
      soname: one(tag.soname),
      rpath: one(tag.rpath),
      runpath: one(tag.runpath),
    };
  }

  /** @throws InputError */
  versionNodes(): VersionNodes {
    /** Records of all chains together. */
    const seen = { count: 0 };
    const defined: string[] = [];
    for (const { at, record } of this.#versions(tag.verdef, tag.verdefnum, verdef, seen)) {
      // The base definition is no version node: it has the file's own name.
      if ((record.u16(verdef.flags) & verdef.base) !== 0) continue;
      const name = this.#records(at + record.u32(verdef.aux), verdaux.size, "version name");
      defined.push(this.#string(name.u32(verdaux.name)));
    }
    const needed: { file: string; nodes: string[] }[] = [];
    for (const { at, record } of this.#versions(tag.verneed, tag.verneednum, verneed, seen)) {
      const nodes: string[] = [];
      const [first, most] = [at + record.u32(verneed.aux), record.u16(verneed.count)];
      for (const { record: one } of this.#chain(first, most, vernaux, seen)) {
        if ((one.u16(vernaux.flags) & vernaux.weak) === 0) nodes.push(this.#string(one.u32(vernaux.name)));
      }
      needed.push({ file: this.#string(record.u32(verneed.file)), nodes });
    }
    return { defined, needed };
  }

  /**
   * The symbols of exactly this name that the file defines, imports not counted. Asked of the hash table, so that it costs a few small
   * reads however large the file is. @throws InputError
   */
  *symbols(name: string): Generator<DynamicSymbol> {
    const [symbols, strings] = [this.#place(tag.symtab), this.#place(tag.strtab)];
    if (symbols === undefined || strings === undefined) return;
    const bytes = Buffer.from(`${name}\0`);
    for (const index of this.#hashed(name)) {
      const symbol = this.#records(symbols + index * symbolEntry.size, symbolEntry.size, "symbol");
      const at = strings + symbol.u32(symbolEntry.name);
      const isDefined = symbol.u16(symbolEntry.section) !== sectionNumber.undefined;
      if (!isDefined || at + bytes.length > this.#file.size) continue;
      if (!this.#file.read(at, bytes.length, "symbol name", limits.string).equals(bytes)) continue;
      yield {
        type: typeOf(symbol.u16(symbolEntry.info)),
        address: symbol.u64(symbolEntry.value),
        size: symbol.u64(symbolEntry.length),
      };
    }
  }

  /**
   * Where relocations with an addend lie (DT_RELA, DT_RELASZ): an address before relocation, and bytes; null where there are none.
   * @throws InputError
   */
  relocations(): { readonly address: number; readonly size: number } | null {
    const [address, size] = [this.#value(tag.rela), this.#value(tag.relasz)];
    return address === undefined || size === undefined ? null : { address, size };
  }

  get #header(): ProgramHeader | undefined {
    return this.#segments.find(({ type }) => type === segment.dynamic);
  }

  #all(): readonly { readonly key: number; readonly value: number }[] {
    this.#entries ??= this.#read();
    return this.#entries;
  }

  #read(): readonly { readonly key: number; readonly value: number }[] {
    const header = this.#header;
    if (header === undefined) return [];
    const size = header.filesz - (header.filesz % dynamicEntry.size);
    const table = this.#records(header.offset, size, "dynamic section", limits.section);
    const entries: { key: number; value: number }[] = [];
    for (let at = 0; at < size; at += dynamicEntry.size) {
      const key = table.u32(at);
      // The upper half of a tag we know is 0; any other tag is not ours.
      if (table.u32(at + 4) !== 0 || !knownTags.has(key)) continue;
      if (key === tag.null) break;
      entries.push({ key, value: table.u64(at + dynamicEntry.value) });
    }
    return entries;
  }

  /** Where a tag stands several times, the dynamic linker keeps the last entry. */
  #value(key: number): number | undefined {
    this.#values ??= new Map(this.#all().map((entry) => [entry.key, entry.value]));
    return this.#values.get(key);
  }

  /** The place in the file that an entry's address leads to; undefined where there is no such entry. */
  #place(key: number): number | undefined {
    const known = this.#places.get(key);
    const address = known === undefined ? this.#value(key) : undefined;
    if (address === undefined) return known;
    const place = this.#offsetOf(address);
    this.#places.set(key, place);
    return place;
  }

  #offsetOf(address: number): number {
    const home = segmentAt(this.#segments, address);
    if (home === undefined) throw this.#error(`address 0x${address.toString(16)} is in no segment`);
    return home.offset + (address - home.vaddr);
  }

  /** A string of the string table; `offset` in it. */
  #string(offset: number): string {
    const [strings, size] = [this.#value(tag.strtab), this.#value(tag.strsz)];
    if (strings === undefined || size === undefined)
      throw this.#error("the dynamic section names strings but has no string table");
    if (offset >= size) throw this.#error(`a string at ${offset} of a string table of ${size} bytes`);
    const at = this.#offsetOf(strings + offset);
    const length = Math.min(limits.string, size - offset, this.#file.size - at);
    return cString(this.#file.path, this.#file.read(at, length, "string", limits.string), 0, at);
  }

  /** The version records that two entries tell of: where they begin, and how many they are. */
  *#versions(places: number, counts: number, kind: VersionRecord, seen: { count: number }) {
    const [start, most] = [this.#place(places), this.#value(counts)];
    if (start !== undefined && most !== undefined) yield* this.#chain(start, most, kind, seen);
  }

  /** The records of a chain that begins at a place of the file; each tells how far the next is, 0 for the last. */
  *#chain(start: number, most: number, { size, next }: VersionRecord, seen: { count: number }) {
    for (let at = start, index = 0; index < most; index++) {
      seen.count += 1;
      if (seen.count > limits.nodes)
        throw new InputError(this.#file.path, at, `more than ${limits.nodes} version nodes`);
      const record = this.#records(at, size, "version node");
      yield { at, record };
      if (record.u32(next) === 0) return;
      at += record.u32(next);
    }
  }

  /** Indices of symbols that the file's hash table files under a name. */
  *#hashed(name: string): Generator<number> {
    const gnu = this.#place(tag.gnuHash);
    if (gnu !== undefined) yield* this.#gnuHashed(gnu, name);
    const plain = gnu === undefined ? this.#place(tag.hash) : undefined;
    if (plain !== undefined) yield* this.#plainHashed(plain, name);
  }

  /** By DT_GNU_HASH. */
  *#gnuHashed(at: number, name: string): Generator<number> {
    this.#gnuHead ??= this.#records(at, gnuHash.size, "hash table");
    const header = this.#gnuHead;
    const [buckets, first] = [header.u32(gnuHash.buckets), header.u32(gnuHash.first)];
    if (buckets === 0) return;
    let hash = 5381;
    for (const byte of Buffer.from(name)) hash = (Math.imul(hash, 33) + byte) >>> 0;
    const table = at + gnuHash.size + header.u32(gnuHash.bloom) * gnuHash.bloomWord;
    let index = this.#records(table + (hash % buckets) * word, word, "hash bucket").u32(0);
    for (let step = 0; index >= first && step < limits.chain; step++, index++) {
      const link = this.#records(table + (buckets + index - first) * word, word, "hash chain").u32(0);
      // The lowest bit marks the end of the chain.
      if ((link | 1) >>> 0 === (hash | 1) >>> 0) yield index;
      if ((link & 1) !== 0) return;
    }
  }

  /** By DT_HASH. */
  *#plainHashed(at: number, name: string): Generator<number> {
    const buckets = this.#records(at, hashHead, "hash table").u32(0);
    if (buckets === 0) return;
    let hash = 0;
    for (const byte of Buffer.from(name)) {
      hash = ((hash << 4) + byte) >>> 0;
      const high = hash & 0xf0000000;
      hash = (hash ^ (high >>> 24)) & 0x0fffffff;
    }
    const entry = (index: number): number =>
      this.#records(at + hashHead + index * word, word, "hash table").u32(0);
    let index = entry(hash % buckets);
    for (let step = 0; index !== 0 && step < limits.chain; step++, index = entry(buckets + index))
      yield index;
  }

  #records(offset: number, size: number, what: string, limit = size): Records {
    return new Records(this.#file.path, offset, this.#file.read(offset, size, what, limit));
  }

  /** An error of what an entry says: it names the section's own place. */
  #error(what: string): InputError {
    return new InputError(this.#file.path, this.#header?.offset ?? 0, what);
  }
}

/** Bytes of a version's record, and where in it stands how far the next one is. */
interface VersionRecord {
  readonly size: number;
  readonly next: number;
}
