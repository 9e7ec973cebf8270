import { memoryFile, writeAll } from "../../ffi/descriptors.ts";
import { dwarfTypes, NOBITS, type WantedTypes } from "../dwarf/dwarf.ts";
import { Elf, type Machine } from "../elf/elf.ts";
import { InputError, InputFile } from "../input/input.ts";
import { shownName } from "../input/name.ts";
import type { TypeSource } from "../kernel/fields/type-information.ts";
import {
  AR_MAGIC,
  type ArchiveWalk,
  RPM_MAGIC,
  skipToRpmPayload,
  walkAr,
  walkCpio,
  walkTar,
} from "../packed/archive.ts";
import { packingOf, unpacked } from "../packed/inflate.ts";
import { Stream } from "../packed/stream.ts";

/** A kernel that does not run here, as its file tells. */
export interface ImageKernel {
  /** The file, and where in it, for people. */
  readonly path: string;
  /** As uname -r would name it; null: the file does not say. */
  readonly release: string | null;
  /** What /proc/version would say, and /proc/version_signature, which Ubuntu's kernels have. */
  readonly version: string | undefined;
  readonly signature: string | undefined;
  /** The GNU build-id in lower-case hexadecimal; null: the file does not say. */
  readonly buildId: string | null;
  /** The machine that it is for; null for raw BTF, which does not say. */
  readonly machine: Machine | null;
  /** Its type information as BTF; null where it has none. What was read of DWARF was made into BTF. */
  readonly btf: {
    readonly bytes: Buffer;
    readonly path: string;
    readonly at: number;
    readonly source: TypeSource;
  } | null;
}

/** A file that may be sound, and is no kernel and has none in it. */
export class NoKernelError extends InputError {}

/** Bytes of a kernel once it is unpacked, which lies in memory then. With everything in it and no debug information it has 200 MB. */
const largestKernel = 512 << 20;
/** Bytes that may be unpacked on the way to a kernel in a package. */
const largestPackage = 2 ** 33;
/** BTF of a kernel with everything in it has 10 MiB. */
const largestBtf = 128 << 20;
/** How deep a kernel may be packed: a package, the vmlinuz in it, the vmlinux in that. */
const deepest = 3;

/** What is looked for in a kernel's file: by which sources, the first that is there, and what of DWARF, in which all is too much. */
export interface SoughtTypes {
  readonly sources: readonly TypeSource[];
  readonly names: WantedTypes | null;
}

/** Where a file lies: how deep in others, and how many bytes of those may be kept in memory beside them. */
interface Within extends SoughtTypes {
  readonly depth: number;
  readonly room: number;
}

/** A kind of file that a kernel can be in. */
interface Format {
  readonly name: string;
  readonly is: (head: Buffer) => boolean;
  /** @throws InputError */
  readonly read: (file: InputFile, within: Within) => ImageKernel;
}

/** Bytes at a file's beginning that tell what it is. */
const HEAD = 1024;
const textAt = (head: Buffer, at: number, text: string): boolean =>
  head.toString("latin1", at, at + text.length) === text;

const formats: readonly Format[] = [
  { name: "BTF", is: (head) => isBtf(head), read: rawBtf },
  { name: "an ELF file", is: (head) => textAt(head, 0, "\x7fELF"), read: vmlinux },
  { name: "a bzImage", is: (head) => textAt(head, 0x202, "HdrS"), read: bzImage },
  { name: "an EFI zboot image", is: (head) => textAt(head, 0, "MZ") && textAt(head, 4, "zimg"), read: zboot },
  { name: "an arm64 Image", is: (head) => textAt(head, 0x38, "ARMd"), read: arm64Image },
  { name: "a Debian package", is: (head) => textAt(head, 0, AR_MAGIC), read: debianPackage },
  {
    name: "an RPM package",
    is: (head) => head.length >= 4 && head.readUInt32BE(0) === RPM_MAGIC,
    read: rpmPackage,
  },
  { name: "a tar archive", is: (head) => textAt(head, 257, "ustar"), read: tarArchive },
  { name: "a packed file", is: (head) => packingOf(head) !== null, read: packed },
];

const headOf = (file: InputFile): Buffer => file.read(0, Math.min(HEAD, file.size), "beginning", HEAD);

/** What kind of file a kernel could be read of; null where of none. */
export function formatOf(file: InputFile): string | null {
  const head = headOf(file);
  return formats.find(({ is }) => is(head))?.name ?? null;
}

/**
 * Reads a kernel's file: raw BTF, an ELF vmlinux, a bzImage, arm64's Image, an EFI zboot image, a package with one of these
 * in it, or one of these packed. Of a package with several the first is taken.
 *
 * @throws InputError where it is none, damaged, or of another architecture than x86-64 and arm64
 */
export const kernelIn = (file: InputFile, sought: SoughtTypes = onlyBtf): ImageKernel =>
  readIn(file, { depth: 0, room: largestKernel, ...sought });
const onlyBtf: SoughtTypes = { sources: ["btf"], names: null };

function readIn(file: InputFile, within: Within): ImageKernel {
  if (within.depth > deepest) throw new InputError(file.path, 0, "packed too deeply");
  return formatIn(headOf(file), file.path).read(file, within);
}

/** @throws NoKernelError where bytes begin like nothing that a kernel can be in */
function formatIn(head: Buffer, path: string): Format {
  const format = formats.find(({ is }) => is(head));
  if (format !== undefined) return format;
  throw new NoKernelError(path, 0, "neither BTF nor a kernel of x86-64 or arm64, nor a package with one");
}

/** Reads what comes out of a stream, which is kept in memory meanwhile. @throws InputError */
function inMemory(bytes: Iterable<Buffer>, path: string, within: Within): ImageKernel {
  const { depth, room } = within;
  using memory = memoryFile("kernel", new Uint8Array(0));
  let size = 0;
  for (const piece of bytes) {
    size += piece.length;
    if (size > room) throw new InputError(path, size, `larger than the ${room} bytes that are left for it`);
    writeAll(memory.fd, piece, path);
  }
  using file = InputFile.of(memory.fd, path);
  return readIn(file, { ...within, depth: depth + 1, room: room - size });
}

const BTF_MAGIC = { little: 0xeb9f, big: 0x9feb } as const;
const isBtf = (head: Buffer): boolean =>
  head.length >= 24 && [BTF_MAGIC.little, BTF_MAGIC.big].some((magic) => head.readUInt16LE(0) === magic);

function rawBtf(file: InputFile): ImageKernel {
  const bytes = file.read(0, file.size, "BTF", largestBtf);
  if (bytes.readUInt16LE(0) === BTF_MAGIC.big)
    throw new InputError(file.path, 0, "BTF of a big-endian machine is not supported");
  const { path } = file;
  return { ...untold, path, machine: null, btf: { bytes, path, at: 0, source: "btf" } };
}

const untold = { release: null, version: undefined, signature: undefined, buildId: null } as const;

function vmlinux(file: InputFile, sought: SoughtTypes): ImageKernel {
  // Elf closes its file, and this one is the caller's.
  using elf = Elf.of(InputFile.of(file.fd, file.path), { isKernel: true });
  const texts = new Texts();
  for (const region of elf.readOnly()) for (const piece of elf.bytes(region)) texts.read(piece.bytes);
  const { path } = file;
  return {
    path,
    ...texts.told,
    buildId: elf.buildId(),
    machine: elf.machine,
    btf: typesOf(file, elf, sought),
  };
}

function typesOf(file: InputFile, elf: Elf, { sources, names }: SoughtTypes): ImageKernel["btf"] {
  const { path } = file;
  const section = elf.sections().find(({ name, type }) => name === ".BTF" && type !== NOBITS);
  if (sources.includes("btf") && section !== undefined)
    return { bytes: elf.contents(section, largestBtf), path, at: section.offset, source: "btf" };
  const bytes = sources.includes("dwarf") && names !== null ? dwarfTypes(file, elf, names) : null;
  return bytes && { bytes: Buffer.from(bytes.buffer), path, at: 0, source: "dwarf" };
}

/** What a kernel says of itself in its constants. Nothing is told by two texts that say different things. */
class Texts {
  readonly #releases = new Map<string, string>();
  readonly #signatures = new Set<string>();

  /** Looks through bytes that no text of interest is cut in two by. */
  read(bytes: Buffer): void {
    for (const text of this.#releases.size > 1 ? [] : textsAt(bytes, "Linux version ")) {
      const [version, release] = /^Linux version (\d+\.\d+[\w.+~-]*) \(.*$/m.exec(text) ?? [];
      if (version !== undefined && release !== undefined) this.#releases.set(release, version);
      if (this.#releases.size > 1) break;
    }
    for (const text of this.#signatures.size > 1 ? [] : textsAt(bytes, "Ubuntu ")) {
      const [signature] = /^Ubuntu \d[\w.+~-]* \d+\.\d+[\w.]*$/m.exec(text) ?? [];
      if (signature !== undefined) this.#signatures.add(signature);
      if (this.#signatures.size > 1) break;
    }
  }

  get told(): Pick<ImageKernel, "release" | "version" | "signature"> {
    const [one, ...others] = this.#releases;
    const [signature, ...signatures] = this.#signatures;
    const [release = null, version] = one !== undefined && others.length === 0 ? one : [];
    return { release, version, signature: signatures.length === 0 ? signature : undefined };
  }
}

/** Bytes of a text that are looked at. */
const LONGEST = 512;

function* textsAt(bytes: Buffer, begins: string): Generator<string> {
  for (let at = bytes.indexOf(begins); at >= 0; at = bytes.indexOf(begins, at + 1)) {
    const text = bytes.subarray(at, at + LONGEST);
    const end = text.indexOf(0);
    if (end >= 0) yield text.toString("latin1", 0, end);
  }
}

/** The setup header of x86: Documentation/arch/x86/boot.rst. Bytes. */
const setup = {
  sectors: 0x1f1,
  version: 0x206,
  text: 0x20e,
  payload: 0x248,
  length: 0x24c,
  end: 0x250,
} as const;
const SECTOR = 512;

function bzImage(file: InputFile, within: Within): ImageKernel {
  const header = file.read(0, setup.end, "setup header", setup.end);
  if (header.readUInt16LE(setup.version) < 0x208)
    throw new InputError(file.path, setup.version, "a boot protocol before 2.08 (Linux 2.6.24)");
  const start = ((header[setup.sectors] || 4) + 1) * SECTOR + header.readUInt32LE(setup.payload);
  const size = header.readUInt32LE(setup.length);
  const kernel = payload(file, start, size, within);
  const at = header.readUInt16LE(setup.text) + 0x200;
  const text = at === 0x200 ? "" : file.read(at, Math.min(LONGEST, file.size - at), "version", LONGEST);
  const [release = null] = /^\d+\.\d+[\w.+~-]*(?= \()/.exec(text.toString("latin1")) ?? [];
  if (kernel.release !== null && release !== null && kernel.release !== release)
    throw new InputError(file.path, at, `it says ${release}, and the kernel in it ${kernel.release}`);
  return { ...kernel, path: file.path, release: kernel.release ?? release };
}

/** The kernel that lies packed, or as it is, in a part of a file. */
function payload(file: InputFile, start: number, size: number, within: Within): ImageKernel {
  if (start + size > file.size)
    throw new InputError(file.path, start, `a kernel of ${size} bytes beyond the end of ${file.size}`);
  using stream = Stream.of(file, start, start + size);
  return unpackedIn(stream, within);
}

function unpackedIn(stream: Stream, within: Within): ImageKernel {
  if (packingOf(stream.peek(16)) === null) return inMemory(stream.rest(), stream.path, within);
  using plain = unpacked(stream, within.room);
  formatIn(plain.peek(HEAD), plain.path); // before all of it is unpacked
  return inMemory(plain.rest(), plain.path, within);
}

function packed(file: InputFile, within: Within): ImageKernel {
  return { ...payload(file, 0, file.size, within), path: file.path };
}

/** What drivers/firmware/efi/libstub/zboot-header.S begins with. */
function zboot(file: InputFile, within: Within): ImageKernel {
  const header = file.read(0, 16, "zboot header", 16);
  const kernel = payload(file, header.readUInt32LE(8), header.readUInt32LE(12), within);
  return { ...kernel, path: file.path };
}

/** struct btf_header (include/uapi/linux/btf.h) of one that is not swapped; bytes. */
const BTF_START = Buffer.from("9feb010018000000", "hex");
const btfHeader = { size: 24, strings: 16, stringsSize: 20 } as const;
/** A note with the build-id of SHA-1: sizes of name and content, NT_GNU_BUILD_ID, the name. */
const BUILD_ID = Buffer.from("040000001400000003000000474e5500", "hex");
const BUILD_ID_SIZE = 20;
/** The flags of an Image: Documentation/arch/arm64/booting.rst. */
const imageFlags = { at: 24, isBigEndian: 1 } as const;

/** An Image has no sections: what is looked for is told by how it begins. */
function arm64Image(file: InputFile): ImageKernel {
  const image = file.read(0, file.size, "Image", largestKernel);
  if (((image[imageFlags.at] ?? 0) & imageFlags.isBigEndian) !== 0)
    throw new InputError(file.path, imageFlags.at, "a big-endian kernel is not supported");
  const texts = new Texts();
  texts.read(image);
  const { path } = file;
  const at = largestBtfIn(image);
  const ids = new Set(placesOf(image, BUILD_ID).map((note) => buildIdAt(image, note)));
  // Build-ids of the vDSOs, which are whole ELF files within the image, are not the kernel's.
  for (const id of embeddedIds(image)) ids.delete(id);
  const [buildId = null, ...others] = ids;
  return {
    path,
    ...texts.told,
    buildId: others.length === 0 ? buildId : null,
    machine: "aarch64",
    btf: at && { bytes: Buffer.from(image.subarray(at.start, at.end)), path, at: at.start, source: "btf" },
  };
}

/** Places of one thing in an image that are looked at: a kernel has three or four. */
const mostPlaces = 256;
/** Bytes of an ELF file in an image; a vDSO has some 5 KiB. */
const largestEmbedded = 1 << 20;

function placesOf(bytes: Buffer, what: Buffer): number[] {
  const places: number[] = [];
  for (let at = bytes.indexOf(what); at >= 0; at = bytes.indexOf(what, at + 1)) {
    places.push(at);
    if (places.length === mostPlaces) break;
  }
  return places;
}

const buildIdAt = (image: Buffer, note: number): string =>
  image.toString("hex", note + BUILD_ID.length, note + BUILD_ID.length + BUILD_ID_SIZE);

/** Where the headers of a file of 32 and of 64 bits tell of its sections, which linkers write last: place, size of one, count. */
const elfSections = [
  { place: 0x20, size: 0x2e, count: 0x30 },
  { place: 0x28, size: 0x3a, count: 0x3c },
] as const;

/** Build-ids in ELF files that lie whole in an image. */
function* embeddedIds(image: Buffer): Generator<string> {
  for (const start of placesOf(image, Buffer.from("\x7fELF", "latin1"))) {
    const header = image.subarray(start, start + 64);
    const at = elfSections[(header[4] ?? 0) - 1];
    if (at === undefined || header.length < 64) continue;
    const place = header.readUInt32LE(at.place);
    const end = start + place + header.readUInt16LE(at.size) * header.readUInt16LE(at.count);
    const file = image.subarray(start, Math.min(end, start + largestEmbedded));
    for (const note of placesOf(file, BUILD_ID)) yield buildIdAt(file, note);
  }
}

/** The kernel's own is the longest of what begins as BTF does: programs that are in it have some, too. */
function largestBtfIn(image: Buffer): { readonly start: number; readonly end: number } | null {
  const all = placesOf(image, BTF_START).flatMap((start) => {
    if (start + btfHeader.size > image.length) return [];
    const strings = image.readUInt32LE(start + btfHeader.strings);
    const end = start + btfHeader.size + strings + image.readUInt32LE(start + btfHeader.stringsSize);
    return end <= image.length && end - start <= largestBtf ? [{ start, end }] : [];
  });
  return all.reduce<(typeof all)[number] | null>(
    (longest, one) => (longest === null || one.end - one.start > longest.end - longest.start ? one : longest),
    null,
  );
}

/** What kernels are called in a root, and in packages of one; without the leading slash. BTFHub's archives hold `RELEASE.btf`. */
const kernelName =
  /^(?:(?:usr\/lib\/debug\/)?(?:boot|(?:usr\/)?lib\/modules\/[^/]+)\/(?:vmlinu[xz]|Image|kernel)(?:-[^/]*)?|[^/]*\.btf)$/;
/** Whether that is where a kernel lies. @param path inside a root, without its leading slash */
export const isKernelName = (path: string): boolean => kernelName.test(path);

/** The first kernel in an archive. @throws InputError where there is none */
function inArchive(archive: Stream, walk: ArchiveWalk, path: string, within: Within): ImageKernel {
  const kernel = walk(archive, ({ name, isFile }, bytes) => {
    if (!isFile || !isKernelName(name)) return null;
    return inMemory(bytes(), `${path}: ${shownName(name)}`, within);
  });
  if (kernel !== null) return kernel;
  throw new NoKernelError(path, 0, "a package without a kernel");
}

function tarArchive(file: InputFile, within: Within): ImageKernel {
  using archive = Stream.of(file);
  return inArchive(archive, walkTar, file.path, within);
}

function debianPackage(file: InputFile, within: Within): ImageKernel {
  using archive = Stream.of(file);
  const kernel = walkAr(archive, ({ name, size }, bytes) => {
    if (!name.startsWith("data.tar")) return null;
    using data = new Stream(bytes(), `${file.path}: ${shownName(name)}`);
    if (size === 0) throw archive.error("an empty data.tar");
    if (packingOf(data.peek(16)) === null) return inArchive(data, walkTar, file.path, within);
    using plain = unpacked(data, largestPackage);
    return inArchive(plain, walkTar, file.path, within);
  });
  if (kernel !== null) return kernel;
  throw new NoKernelError(file.path, 0, "an ar archive without data.tar: no Debian package");
}

function rpmPackage(file: InputFile, within: Within): ImageKernel {
  using archive = Stream.of(file);
  skipToRpmPayload(archive);
  if (packingOf(archive.peek(16)) === null) return inArchive(archive, walkCpio, file.path, within);
  using plain = unpacked(archive, largestPackage);
  return inArchive(plain, walkCpio, file.path, within);
}
