import { basename, dirname } from "node:path";
import { Elf } from "../elf/elf.ts";
import type { LibraryReport } from "../output/document.ts";
import { findNeeded, type SearchPath } from "./find.ts";
import type { Root } from "./root.ts";

type Library = LibraryReport["library"];

/** What a library file says of itself. A null `version` comes with a `reason`. */
export interface Identity {
  readonly library: Library;
  readonly version: string | null;
  /** The file and the part of it the text stands in, e.g. `libcrypto.so.3 .rodata`. */
  readonly versionFrom: string | null;
  readonly reason?: string;
  /** Opens each libcrypto that the version was read from; absent where the file is to have none beside it. */
  readonly libcryptos?: readonly (() => Elf)[];
}

const date = String.raw`(?:\d{1,2} [A-Z][a-z]{2} \d{4}|[A-Z][a-z]{2} \d{1,2}, \d{4}|xx XXX xxxx)`;

/**
 * How each library names itself, as one whole C string: a longer text that merely mentions a version is not it.
 * The first group is the version, where there is one. Sources: OPENSSL_VERSION_TEXT of opensslv.h (vendors put words
 * such as `FIPS` before the date; 1.0.2 adds "AES part of"), base.h of BoringSSL and AWS-LC, LibreSSL's opensslv.h.
 */
const signatures: readonly { library: Library; text: RegExp }[] = [
  {
    library: "openssl",
    text: new RegExp(
      String.raw`^(?:[\w./ -]{1,40} part of )?OpenSSL (\d{1,4}\.\d{1,4}\.\d{1,4}[a-z]{0,2}(?:[-+][\w.~+-]{1,40})?(?: {1,2}[(]?[A-Za-z][\w.)-]{0,20}){0,2}) {1,2}${date}$`,
    ),
  },
  {
    library: "boringssl",
    text: /^(?:OpenSSL [\d.]+ \(compatible; BoringSSL\)|BoringSSL)$/,
  },
  // The path of a source file, as its errors carry it: all that a stripped program says of itself.
  { library: "boringssl", text: /(?:^|\/)boringssl\/(?:src\/)?ssl\/ssl_lib\.cc?$/ },
  { library: "aws-lc", text: /(?:^|\/)aws-lc\/ssl\/ssl_lib\.cc?$/ },
  {
    library: "aws-lc",
    text: /^(?:OpenSSL [\d.]+ \(compatible; )?AWS-LC(?: FIPS)?(?: (\d{1,4}\.\d{1,4}\.\d{1,4}))?\)?$/,
  },
  // Forks whose structs differ though their text may also carry OpenSSL's: never to be taken for it.
  { library: "unknown", text: /^LibreSSL \d[\w.]*$/ },
  { library: "unknown", text: /^BabaSSL \d[\w.-]*$/ },
  { library: "unknown", text: /^Tongsuo \d[\w.-]*$/ },
];

/** A source file that every TLS library is made of, whose path stands in the errors it makes. */
const sourceMarker = Buffer.from("ssl_lib.c");
const sourcePath = /(?:^|\/)ssl_lib\.cc?$/;

/** Each text above holds one of these. Few, since each is one pass over all constants. */
const markers = ["SSL", "AWS-LC", "Tongsuo"].map((text) => Buffer.from(text)).concat(sourceMarker);

/** A text found in a library: whole, and what it tells. */
export interface Signature {
  readonly library: Library;
  readonly version: string | null;
  readonly text: string;
}

/** No version text is longer; what lies in a longer string is not one. */
const longestText = 256;

/** The C string that holds the byte at `at`, or null where it does not end within {@link longestText} bytes. */
function cStringAround(bytes: Buffer, at: number): string | null {
  // Looked for within bounds: a file full of markers would otherwise cost their number times its size.
  const first = Math.max(0, at - longestText);
  const before = bytes.subarray(first, at).lastIndexOf(0);
  if (before < 0 && first > 0) return null;
  const start = first + before + 1;
  const length = bytes.subarray(start, start + longestText + 1).indexOf(0);
  return length < 0 ? null : bytes.toString("latin1", start, start + length);
}

/** All texts in `bytes` by which a TLS library names itself, each once. */
export function signaturesIn(bytes: Buffer): readonly Signature[] {
  const found = new Map<string, Signature>();
  for (const marker of markers) {
    for (let at = bytes.indexOf(marker); at >= 0; at = bytes.indexOf(marker, at + marker.length)) {
      const whole = cStringAround(bytes, at);
      if (whole === null || found.has(whole)) continue;
      for (const { library, text } of signatures) {
        const match = text.exec(whole);
        if (match === null) continue;
        found.set(whole, { library, version: match[1]?.replace(/ +/g, " ") ?? null, text: whole });
        break;
      }
    }
  }
  return [...found.values()];
}

/** Bytes. No program with a TLS library inside is smaller. */
const smallestProgram = 512 << 10;
/** A symbol that every TLS library with OpenSSL's interface defines. */
const constructorName = "SSL_new";
const libsslName = /^libssl[.-]/;

/**
 * Whether a TLS library is inside: `SSL_new` is defined, for others or, where there is a full symbol table, for itself;
 * or the path of a source file of it stands in the constants. A file that only imports SSL_* has none. @throws InputError
 */
export function holdsTls(elf: Elf): boolean {
  if (elf.defines(constructorName)) return true;
  if (elf.size < smallestProgram || elf.dynamic().needed.some((name) => libsslName.test(name))) return false;
  for (const region of elf.readOnly()) {
    for (const { bytes } of elf.bytes(region)) {
      for (let at = bytes.indexOf(sourceMarker); at >= 0; at = bytes.indexOf(sourceMarker, at + 1)) {
        if (sourcePath.test(cStringAround(bytes, at) ?? "")) return true;
      }
    }
  }
  return elf.definesStatic(constructorName);
}

interface Finding extends Signature {
  readonly from: string;
}

/** What the read-only bytes of files say, by file: a libcrypto that many libraries share is read once. */
export class Signatures {
  readonly #known = new Map<string, readonly Finding[]>();

  /** What an ELF file names itself; `from` is the region. @throws InputError */
  of(elf: Elf): readonly Finding[] {
    const known = this.#known.get(elf.identity);
    if (known !== undefined) return known;
    const found = new Map<string, Finding>();
    for (const region of elf.readOnly()) {
      for (const { bytes } of elf.bytes(region)) {
        for (const one of signaturesIn(bytes)) {
          if (!found.has(one.text)) found.set(one.text, { ...one, from: region.name });
        }
      }
    }
    this.#known.set(elf.identity, [...found.values()]);
    return [...found.values()];
  }
}

const listed = (items: Iterable<string>): string => [...new Set(items)].join(", ");

/** Joins everything that was found: one library and one version, or none with the reason. */
export function decide(findings: readonly Finding[]): Identity {
  const [first] = findings;
  if (first === undefined) {
    return {
      library: "unknown",
      version: null,
      versionFrom: null,
      reason: "no version text in it or its libcrypto",
    };
  }
  const told = listed(findings.map((one) => `${one.text} (${one.from})`));
  const nothing = { version: null, versionFrom: null };
  if (findings.some((one) => one.library !== first.library)) {
    // A fork may still carry the text of what it came from.
    return { library: "unknown", ...nothing, reason: `several libraries name themselves: ${told}` };
  }
  const versions = findings.filter((one) => one.version !== null);
  const [sure] = versions;
  if (sure === undefined)
    return {
      library: first.library,
      ...nothing,
      reason: `no version, so no published layout can be chosen: ${told}`,
    };
  if (versions.some((one) => one.version !== sure.version)) {
    return { library: first.library, ...nothing, reason: `version texts disagree: ${told}` };
  }
  return { library: sure.library, version: sure.version, versionFrom: sure.from };
}

const messageOf = (error: unknown): string => (error instanceof Error ? error.message : String(error));

/** A file that processes have mapped beside the library; `open` is how the very file is reached. */
export interface Companion {
  /** Last part of its path. */
  readonly name: string;
  readonly open: () => Elf;
}

/** A library to identify, and what is around it. */
export interface Subject {
  /** The tree it lies in, where what it needs is looked up. */
  readonly root: Root;
  readonly searchPath: SearchPath;
  /** Real path inside the root. */
  readonly path: string;
  /** What the processes that use it have mapped. */
  readonly companions?: readonly Companion[];
  /** The file is no longer at its path, so what lies there now is of another version. */
  readonly deleted?: boolean;
}

/**
 * Which library and version a libssl file, or a program with one inside, is.
 *
 * From 3.0 on the text is only in libcrypto, so the one that libssl would be linked with is read as well, the one
 * beside it (that alone, in a folder of its own), and those that its processes have mapped: where they differ no version is told. Of a deleted library only
 * the mapped ones count.
 *
 * @throws InputError naming libssl; a libcrypto that cannot be read is a reason
 */
export function identify(elf: Elf, subject: Subject, signatures: Signatures): Identity {
  const { root, searchPath, path, companions = [], deleted = false } = subject;
  const findings: Finding[] = [];
  const note = (name: string, file: Elf): void => {
    for (const one of signatures.of(file)) findings.push({ ...one, from: `${name} ${one.from}` });
  };
  note(basename(path), elf);
  const { needed, rpath, runpath } = elf.dynamic();
  // A name with a slash is a path of the process's own; a library's never is. Bundled copies are `libcrypto-1a2b.so.3`.
  const soname = needed.find((name) => /^libcrypto(-[^/]*)?\.so[^/]*$/.test(name));
  if (soname === undefined) return decide(findings);

  const problems: string[] = [];
  const libcryptos: (() => Elf)[] = [];
  const seen = new Set<string>();
  /** Adds what a libcrypto says; false where the dynamic linker would pass over it. */
  const hear = (open: () => Elf): boolean => {
    try {
      using crypto = open();
      if (crypto.machine !== elf.machine) return false;
      if (seen.has(crypto.identity)) return true;
      note(soname, crypto);
      seen.add(crypto.identity);
      libcryptos.push(open);
      return true;
    } catch (error) {
      problems.push(messageOf(error));
      return false;
    }
  };
  const inTree = (candidate: string) => () => Elf.open(root.host(candidate), candidate);
  const mapped = companions.filter(({ name }) => name.startsWith(soname)).map(({ open }) => hear(open));
  let heard = mapped.includes(true);
  if (!deleted) {
    const folder = dirname(path);
    const beside = root.resolve(`${folder}/${soname}`);
    const isBeside = beside !== null && hear(inTree(beside));
    // Where the linker does not look by itself, whoever loads the one from there loads the other from there too.
    const isApart = rpath === null && runpath === null && !searchPath.folders.includes(folder);
    const from = { folder, machine: elf.machine, rpath, runpath };
    const candidates = isBeside && isApart ? [] : findNeeded(root, searchPath, soname, from);
    for (const candidate of candidates) {
      if (!hear(inTree(candidate))) continue;
      heard = true;
      break;
    }
    heard ||= isBeside;
  }

  const identity = { ...decide(findings), libcryptos };
  if (identity.version !== null) return identity;
  if (problems.length > 0) return { ...identity, reason: [identity.reason, ...problems].join("; ") };
  if (!heard && findings.length === 0) return { ...identity, reason: `its ${soname} was not found` };
  return identity;
}
