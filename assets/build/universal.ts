/**
 * Makes Bun's executable for glibc one that needs nothing of the host: without an interpreter, and with the launcher
 * (launcher/launcher.h) and a musl behind it. Layouts and numbers: System V ABI (gabi), chapters 4 and 5, and elf(5).
 */
import { Elf } from "../../src/elf/elf.ts";
import {
  type ProgramHeader,
  type SectionHeader,
  segment,
  segmentEntry,
  symbolEntry,
} from "../../src/elf/records.ts";

/** Where the launcher lies, behind all of Bun, so that the program knows it (ffi/launcher-thread.ts). */
export const LAUNCHER = 0x1000_0000;

/** Bytes: the largest page of the architectures, to which each part is aligned in the file and in memory. */
const PAGE = 0x10000;
const TABLE_LIMIT = 1 << 20;

const header = { entry: 24, phoff: 32, phnum: 56 } as const;
const gnuStack = 0x6474e551;
/** PT_PHDR: where the table is mapped. Ours is not; the launcher gives the dynamic linker Bun's own. */
const phdr = 6;

/** struct config of launcher/launcher.h: places of what it tells, and of what is filled in. */
const config = { numbers: 32, glibc: 80, version: 104, text: 24 } as const;
/** Functions of the C library that the launcher stands in for: where it tells its own place for each, and where the other's goes. */
const guarded = [
  { name: "write", own: 0, system: 8 },
  { name: "vfprintf", own: 16, system: 24 },
] as const;

/** Relocations of a function that the dynamic linker enters: R_X86_64_JUMP_SLOT, R_AARCH64_JUMP_SLOT. */
const jumpSlots = { x86_64: 7, aarch64: 1026 } as const;
const relocation = { size: 24, info: 8 } as const;
const PF_R = 4;

/**
 * Bytes of a thread's stack: musl takes them from PT_GNU_STACK, else 128 KiB, which is too little for Bun. glibc's come from
 * the limit of the process.
 */
const STACK = 8 << 20;

const up = (value: number): number => Math.ceil(value / PAGE) * PAGE;
const u64 = (bytes: Buffer, at: number): number => Number(bytes.readBigUInt64LE(at));
const setU64 = (bytes: Buffer, value: number, at: number): number =>
  bytes.writeBigUInt64LE(BigInt(value), at);

export interface Parts {
  /** Paths. `program`: what Bun.build made for glibc. */
  readonly program: string;
  readonly launcher: string;
  readonly libc: string;
}

/** What the launcher prints where that is asked and Bun cannot run. */
export interface Spoken {
  readonly version: string;
  /** The text of --help by the words that name a command; a group stands before what is below it. */
  readonly help: readonly (readonly [words: string, text: string])[];
}

/**
 * The universal executable's bytes.
 *
 * @throws where one of the files is not as expected: then another version of Bun is to be looked at
 */
export async function universal(parts: Parts, { version, help }: Spoken): Promise<Buffer> {
  using program = Elf.open(parts.program);
  using launcher = Elf.open(parts.launcher);
  using libc = Elf.open(parts.libc);
  const bytes = await bytesOf(program);
  const launcherBytes = await bytesOf(launcher);
  const libcBytes = await bytesOf(libc);

  const loads = program.programHeaders.filter(({ type }) => type === segment.load);
  const [first] = loads;
  if (program.type !== "executable" || first?.offset !== 0)
    throw new Error(
      `${program.path}: expected a program at fixed addresses whose first segment has the header`,
    );
  if (Math.max(...loads.map(endOf)) > LAUNCHER)
    throw new Error(`${program.path}: reaches behind address ${LAUNCHER}, where the launcher is to be`);
  const start = { offset: up(bytes.length), vaddr: LAUNCHER };
  const launched = appended(launcher, launcherBytes, start);
  const musl = appended(libc, libcBytes, {
    offset: up(start.offset + launched.image.length),
    vaddr: up(Math.max(...launched.headers.map(endOf))),
  });
  const texts = readOnly(Buffer.from([...help.flat(), "", ""].map((each) => `${each}\0`).join("")), {
    offset: up(musl.offset + musl.image.length),
    vaddr: up(Math.max(...musl.headers.map(endOf))),
  });

  const set = launched.image;
  setU64(set, first.vaddr + u64(bytes, header.phoff), config.numbers);
  setU64(set, program.programHeaders.length, config.numbers + 8);
  setU64(set, u64(bytes, header.entry), config.numbers + 16);
  setU64(set, musl.base, config.numbers + 24);
  setU64(set, musl.base + u64(libcBytes, header.entry), config.numbers + 32);
  setU64(set, texts.base, config.numbers + 40);
  set.write(text(newestGlibc(program)), config.glibc);
  set.write(text(version), config.version);
  for (const each of guarded) redirect(each, program, bytes, launched);
  setStack(program, bytes);

  const headers = [
    ...program.programHeaders.filter(({ type }) => type !== segment.interp && type !== phdr),
    ...launched.headers,
    ...musl.headers,
    ...texts.headers,
  ];
  // The kernel maps the segments in the order of their addresses.
  const ordered = [
    ...headers.filter(({ type }) => type === segment.load),
    ...headers.filter(({ type }) => type !== segment.load),
  ];
  const table = Buffer.concat(ordered.map(encoded));
  const whole = Buffer.concat([
    padded(bytes, start.offset),
    padded(set, musl.offset - start.offset),
    padded(musl.image, texts.offset - musl.offset),
    texts.image,
    table,
  ]);
  setU64(whole, whole.length - table.length, header.phoff);
  setU64(whole, launched.base + u64(launcherBytes, header.entry), header.entry);
  whole.writeUInt16LE(ordered.length, header.phnum);
  return whole;
}

const bytesOf = async ({ path }: Elf): Promise<Buffer> => Buffer.from(await Bun.file(path).arrayBuffer());
const endOf = ({ vaddr, memsz }: ProgramHeader): number => vaddr + memsz;

/** Filled with zeros to a length. */
const padded = (bytes: Buffer, length: number): Buffer =>
  Buffer.concat([bytes, Buffer.alloc(length - bytes.length)]);

interface Appended {
  /** Its segments, from `offset` on; a multiple of 8 bytes. */
  readonly image: Buffer;
  readonly offset: number;
  /** The address of what was linked at 0. */
  readonly base: number;
  readonly headers: readonly ProgramHeader[];
}

/** A file linked from 0 on, moved to where it lies behind a program: each byte as far from the beginning as its address is. */
function appended(elf: Elf, bytes: Buffer, { offset, vaddr }: { offset: number; vaddr: number }): Appended {
  const loads = elf.programHeaders.filter(({ type }) => type === segment.load);
  const image = Buffer.alloc(Math.ceil(Math.max(...loads.map((one) => one.vaddr + one.filesz)) / 8) * 8);
  for (const one of loads) bytes.copy(image, one.vaddr, one.offset, one.offset + one.filesz);
  return {
    image,
    offset,
    base: vaddr,
    headers: loads.map((one) => ({ ...one, offset: offset + one.vaddr, vaddr: vaddr + one.vaddr })),
  };
}

/** Bytes in a segment of their own. */
function readOnly(bytes: Buffer, { offset, vaddr }: { offset: number; vaddr: number }): Appended {
  const image = padded(bytes, Math.ceil(bytes.length / 8) * 8);
  const { length } = image;
  const load = { type: segment.load, flags: PF_R, offset, vaddr, filesz: length, memsz: length, align: PAGE };
  return { image, offset, base: vaddr, headers: [load] };
}

/** Elf64_Phdr. */
function encoded({ type, flags, offset, vaddr, filesz, memsz, align }: ProgramHeader): Buffer {
  const bytes = Buffer.alloc(segmentEntry.size);
  bytes.writeUInt32LE(type, 0);
  bytes.writeUInt32LE(flags, 4);
  for (const [index, value] of [offset, vaddr, vaddr, filesz, memsz, align].entries())
    setU64(bytes, value, 8 + index * 8);
  return bytes;
}

/** A text of struct config, which keeps the zero behind it. */
function text(value: string): string {
  if (value.length < config.text) return value;
  throw new Error(`"${value}" is longer than the ${config.text - 1} bytes that the launcher has for it`);
}

/** The newest version node of the GNU C library that the program asks for, e.g. `GLIBC_2.17`. */
function newestGlibc(program: Elf): string {
  const nodes = program.versionNodes().needed.flatMap((need) => need.nodes);
  const versions = nodes.flatMap((node) => /^GLIBC_(\d+\.\d+)(?:\.\d+)?$/.exec(node)?.[1] ?? []);
  const newest = versions.sort((one, other) => Bun.semver.order(`${one}.0`, `${other}.0`)).at(-1);
  if (newest === undefined) throw new Error(`${program.path}: asks for no version of the GNU C library`);
  return `GLIBC_${newest}`;
}

function sectionOf(elf: Elf, name: string): SectionHeader & { readonly bytes: Buffer } {
  const found = elf.sections().find((one) => one.name === name);
  if (found === undefined) throw new Error(`${elf.path}: has no section ${name}`);
  return { ...found, bytes: elf.contents(found, TABLE_LIMIT) };
}

/** Bun calls the launcher's function in the place of the C library's, which the dynamic linker enters into the launcher instead. */
function redirect(
  { name, ...told }: (typeof guarded)[number],
  program: Elf,
  bytes: Buffer,
  { image, base }: Appended,
): void {
  const calls = sectionOf(program, ".rela.plt");
  const symbols = sectionOf(program, ".dynsym");
  const strings = sectionOf(program, ".dynstr");
  const nameOf = (symbol: number): string => {
    const at = symbols.bytes.readUInt32LE(symbol * symbolEntry.size + symbolEntry.name);
    return strings.bytes.toString("latin1", at, strings.bytes.indexOf(0, at));
  };
  for (let at = 0; at < calls.size; at += relocation.size) {
    const [type, symbol] = [0, 4].map((part) => calls.bytes.readUInt32LE(at + relocation.info + part));
    if (type !== jumpSlots[program.machine] || nameOf(symbol ?? 0) !== name) continue;
    const slot = u64(calls.bytes, at);
    const load = program.programHeaders.find(
      (one) => one.type === segment.load && slot >= one.vaddr && slot < one.vaddr + one.filesz,
    );
    if (load === undefined) throw new Error(`${program.path}: the slot of ${name} lies in no segment`);
    const place = slot - load.vaddr + load.offset;
    const [own, system] = [u64(image, told.own), u64(image, told.system)];
    // What stands in the slot finds the function at its first call, where the linker waits for that.
    bytes.copy(image, system, place, place + 8);
    setU64(bytes, base + own, place);
    setU64(bytes, base + system, calls.offset + at);
    return;
  }
  throw new Error(`${program.path}: does not call ${name}; Bun changed, see launcher/guard.c`);
}

/** Bun's own headers, which the dynamic linker is given, tell musl of its threads' stacks. */
function setStack(program: Elf, bytes: Buffer): void {
  const index = program.programHeaders.findIndex(({ type }) => type === gnuStack);
  if (index < 0) throw new Error(`${program.path}: has no PT_GNU_STACK`);
  setU64(bytes, STACK, u64(bytes, header.phoff) + index * segmentEntry.size + 40);
}
