import { loadScanner } from "../machine/scanner.ts";
import { type LoadedFile, mostPlaces } from "./loaded-file.ts";

/** Where code names an address. */
export interface Reference {
  /** Address of the instruction, before relocation. */
  readonly at: number;
  readonly target: number;
}

/** What one pass over all code finds. */
export interface Scanned {
  readonly references: readonly Reference[];
  /** Whether some instruction calls or names this address; false for what lies on no boundary of a function. */
  readonly isCalled: (address: number) => boolean;
}

/** Bytes between places where a function may begin, as a power of two. */
const alignments = { x86_64: 4, aarch64: 2 } as const;
/** Bytes of code that may lie between the halves of an address on arm64, and that a window shares with the next. */
const overlap = 64;
/** Places of one thing that many name: OpenSSL 1.1.1 names ssl_lib.c at each of its errors. */
const manyPlaces = 512;
/** Bytes from the first to the last code of a file, of which calls are noted. */
const mostCode = 2 ** 30;

/**
 * One pass over all code, without decoding it: instructions that name one of these addresses, and which addresses are called. Bytes
 * that only look so are among them: what is made of a reference shows whether it is one.
 *
 * @param many addresses that are named more often than others
 */
export function scanCode(
  image: LoadedFile,
  targets: ReadonlySet<number>,
  many: ReadonlySet<number> = new Set(),
): Scanned {
  const segments = image.segments(true);
  if (segments.length === 0) return { references: [], isCalled: () => false };
  const scanner = loadScanner();
  const shift = alignments[image.elf.machine];
  const first = Math.min(...segments.map(({ vaddr }) => vaddr - (vaddr % (1 << shift))));
  const end = Math.max(...segments.map(({ vaddr, filesz }) => vaddr + filesz));
  const size = Math.min(end - first, mostCode);
  const noted = scanner.note(first, size, shift);

  const found = new Map<number, Reference>();
  const counts = new Map<number, number>();
  const add = (at: number, target: number): void => {
    const count = counts.get(target) ?? 0;
    if (found.has(at) || count >= (many.has(target) ? manyPlaces : mostPlaces)) return;
    counts.set(target, count + 1);
    found.set(at, { at, target });
  };
  const sought = image.elf.machine === "aarch64" ? "arm64Names" : image.isMovable ? "x86Movable" : "x86Fixed";
  const { window } = scanner;
  for (const header of segments)
    for (const { address, bytes } of image.windows(header, overlap, window))
      scanner.look({ sought, wanted: targets, length: bytes.length, about: address }, add);

  const bits = noted();
  const isCalled = (address: number): boolean => {
    const distance = address - first;
    if (distance < 0 || distance >= size || (distance & ((1 << shift) - 1)) !== 0) return false;
    const bit = distance >>> shift;
    return ((bits[bit >>> 3] ?? 0) & (1 << (bit & 7))) !== 0;
  };
  return { references: [...found.values()], isCalled };
}
