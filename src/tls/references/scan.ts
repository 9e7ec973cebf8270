import { type Image, mostPlaces } from "./image.ts";

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

/** What `adrp` counts in, and what `add` reaches. Bytes. */
const pageSize = 4096;

/** The addresses wanted, asked so often that most are turned away by a look at their lowest bits. */
class Wanted {
  readonly #targets: ReadonlySet<number>;
  readonly #seen = new Uint8Array(1 << 16);
  /** By page: whether one of them lies in it or in the next. */
  readonly #near = new Uint8Array(1 << 16);

  constructor(targets: ReadonlySet<number>) {
    this.#targets = targets;
    for (const target of targets) {
      this.#seen[target & 0xffff] = 1;
      const page = Math.floor(target / pageSize);
      this.#near[page & 0xffff] = 1;
      this.#near[(page - 1) & 0xffff] = 1;
    }
  }

  has(target: number): boolean {
    return this.#seen[target & 0xffff] === 1 && this.#targets.has(target);
  }

  /** Whether one may lie less than a page behind this address. */
  isNear(target: number): boolean {
    return this.#near[Math.floor(target / pageSize) & 0xffff] === 1;
  }
}

/** The addresses that are called, one bit each, between the first and the last of all code. */
class Called {
  readonly #shift: number;
  readonly #from: number;
  readonly #size: number;
  readonly #bits: Uint8Array;

  constructor(image: Image) {
    this.#shift = alignments[image.elf.machine];
    const segments = image.segments(true);
    this.#from = Math.min(...segments.map(({ vaddr }) => vaddr - (vaddr % (1 << this.#shift))));
    const end = Math.max(this.#from, ...segments.map(({ vaddr, filesz }) => vaddr + filesz));
    this.#size = Math.min(end - this.#from, mostCode);
    this.#bits = new Uint8Array((this.#size >>> (this.#shift + 3)) + 1);
  }

  add(target: number): void {
    const distance = target - this.#from;
    if (distance < 0 || distance >= this.#size || (distance & ((1 << this.#shift) - 1)) !== 0) return;
    const bit = distance >>> this.#shift;
    this.#bits[bit >>> 3] = (this.#bits[bit >>> 3] as number) | (1 << (bit & 7));
  }

  has(target: number): boolean {
    const distance = target - this.#from;
    if (distance < 0 || distance >= this.#size || (distance & ((1 << this.#shift) - 1)) !== 0) return false;
    const bit = distance >>> this.#shift;
    return ((this.#bits[bit >>> 3] as number) & (1 << (bit & 7))) !== 0;
  }
}

/**
 * One pass over all code, without decoding it: instructions that name one of these addresses, and which addresses are called. Bytes
 * that only look so are among them: what is made of a reference shows whether it is one.
 *
 * @param many addresses that are named more often than others
 */
export function scanCode(
  image: Image,
  targets: ReadonlySet<number>,
  many: ReadonlySet<number> = new Set(),
): Scanned {
  const wanted = new Wanted(targets);
  const called = new Called(image);
  const found = new Map<number, Reference>();
  const counts = new Map<number, number>();
  const add = (at: number, target: number): void => {
    const count = counts.get(target) ?? 0;
    if (found.has(at) || count >= (many.has(target) ? manyPlaces : mostPlaces)) return;
    counts.set(target, count + 1);
    found.set(at, { at, target });
  };
  const isFixed = !image.isMovable;
  for (const header of image.segments(true)) {
    for (const { address, bytes } of image.windows(header, overlap)) {
      if (image.elf.machine === "x86_64") scanX86(bytes, address, isFixed, wanted, called, add);
      else scanArm64(bytes, address, wanted, called, add);
    }
  }
  return { references: [...found.values()], isCalled: (target) => called.has(target) };
}

type Add = (at: number, target: number) => void;

/** What a byte may begin, by its value: most begin nothing that is looked for, and are passed over by one look. */
const nothing = 0;
const lea = 1;
const call = 2;
const move = 3;
const store = 4;

/** @param isFixed whether the file is loaded where it was linked, so that instructions may hold addresses themselves */
const kindsOf = (isFixed: boolean): Uint8Array =>
  new Uint8Array(256).map((_, byte) => {
    if (byte === 0x8d) return lea;
    if (byte === 0xe8) return call;
    if (!isFixed) return nothing;
    return byte >= 0xb8 && byte <= 0xbf ? move : byte === 0xc7 ? store : nothing;
  });
const movable = kindsOf(false);
const fixed = kindsOf(true);
/** Bytes that `mod` of a ModRM byte says follow as a displacement. */
const displacements = [0, 1, 4] as const;

/**
 * `lea r, [rip + d]` (REX.W 8D /r), `call d` (E8), and in a file that is loaded where it was linked `mov r, i` (B8+r) and
 * `mov [r + d], i` (REX.W C7 /0). Intel SDM volume 2.
 */
function scanX86(
  bytes: Buffer,
  address: number,
  isFixed: boolean,
  wanted: Wanted,
  called: Called,
  add: Add,
): void {
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.length);
  const kinds = isFixed ? fixed : movable;
  for (let at = 1; at + 6 <= bytes.length; at++) {
    const kind = kinds[bytes[at] as number];
    if (kind === nothing) continue;
    if (kind === call) called.add(address + at + 5 + view.getInt32(at + 1, true));
    else if (kind === lea) {
      if ((view.getUint8(at + 1) & 0xc7) !== 5 || (view.getUint8(at - 1) & 0xf8) !== 0x48) continue;
      const target = address + at + 6 + view.getInt32(at + 2, true);
      // A function that only pointers lead to.
      called.add(target);
      if (wanted.has(target)) add(address + at - 1, target);
    } else if (kind === store) {
      if ((view.getUint8(at - 1) & 0xf8) !== 0x48) continue;
      const modes = view.getUint8(at + 1);
      const displacement = displacements[modes >> 6];
      if (displacement === undefined) continue;
      const behind = at + 2 + ((modes & 7) === 4 ? 1 : 0) + displacement;
      if (behind + 4 > bytes.length) continue;
      const target = view.getUint32(behind, true);
      if (wanted.has(target)) add(address + at - 1, target);
    } else {
      const target = view.getUint32(at + 1, true);
      // A prefix before it names one of the upper registers.
      const isUpper = (view.getUint8(at - 1) & 0xfe) === 0x40;
      if (wanted.has(target)) add(address + at - (isUpper ? 1 : 0), target);
    }
  }
}

/** `paciasp`: signs the return address, first of all in a function that keeps it. Arm ARM C6.2. */
const sign = 0xd503233f | 0;
const isCall = (word: number): boolean => word >>> 26 === 0b100101;

/**
 * `adrp r, page` and behind it `add r, r, rest`, and another behind that where it is the address of all constants of a source file as one
 * (GCC's section anchors); `bl d`. Arm ARM C6.2.
 */
function scanArm64(bytes: Buffer, address: number, wanted: Wanted, called: Called, add: Add): void {
  const words = new Int32Array(bytes.buffer, bytes.byteOffset, bytes.length >> 2);
  for (let at = 0; at < words.length; at++) {
    const word = words[at] ?? 0;
    const place = address + at * 4;
    if (isCall(word)) called.add(place + ((word << 6) >> 4));
    // What signs the address that a call before it left would return to itself: that call never returns, and a function ends with it.
    else if (word === sign && isCall(words[at - 1] ?? 0)) called.add(place);
    if ((word & 0x9f000000) !== (0x90000000 | 0)) continue;
    const pages = ((word << 8) >> 13) * 4 + ((word >>> 29) & 3);
    let target = place - (place & 0xfff) + pages * pageSize;
    let register = word & 31;
    let isWhole = false;
    for (let next = at + 1; next < Math.min(at + overlap / 4, words.length); next++) {
      const one = words[next] ?? 0;
      if (one >>> 22 !== 0b1001000100 || ((one >>> 5) & 31) !== register) continue;
      const sum = target + ((one >>> 10) & 0xfff);
      if (wanted.has(sum)) add(isWhole ? address + next * 4 : place, sum);
      if (isWhole) continue;
      // A function that only pointers lead to.
      called.add(sum);
      if (!wanted.isNear(sum)) break;
      [target, register, isWhole] = [sum, one & 31, true];
    }
  }
}
