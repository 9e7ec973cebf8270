import { basename, dirname } from "node:path";
import { Elf } from "../elf/elf.ts";
import type { TlsReport } from "../output/document.ts";
import { findNeeded, type SearchPath } from "./find.ts";
import type { Root } from "./root.ts";

type Library = TlsReport["library"];

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
const signatures: readonly { library: Library; marker: string; text: RegExp }[] = [
  {
    library: "openssl",
    marker: "OpenSSL ",
    text: new RegExp(
      String.raw`^(?:[\w./ -]{1,40} part of )?OpenSSL (\d{1,4}\.\d{1,4}\.\d{1,4}[a-z]{0,2}(?:[-+][\w.~+-]{1,40})?(?: {1,2}[(]?[A-Za-z][\w.)-]{0,20}){0,2}) {1,2}${date}$`,
    ),
  },
  {
    library: "boringssl",
    marker: "BoringSSL",
    text: /^(?:OpenSSL [\d.]+ \(compatible; BoringSSL\)|BoringSSL)$/,
  },
  {
    library: "aws-lc",
    marker: "AWS-LC",
    text: /^(?:OpenSSL [\d.]+ \(compatible; )?AWS-LC(?: FIPS)?(?: (\d{1,4}\.\d{1,4}\.\d{1,4}))?\)?$/,
  },
  // Forks whose structs differ though their text may also carry OpenSSL's: never to be taken for it.
  { library: "unknown", marker: "LibreSSL ", text: /^LibreSSL \d[\w.]*$/ },
  { library: "unknown", marker: "BabaSSL ", text: /^BabaSSL \d[\w.-]*$/ },
  { library: "unknown", marker: "Tongsuo ", text: /^Tongsuo \d[\w.-]*$/ },
];

/** A text found in a library: whole, and what it tells. */
export interface Signature {
  readonly library: Library;
  readonly version: string | null;
  readonly text: string;
}

/** No version text is longer; what lies in a longer string is not one. */
const longestText = 128;

/** The C string that holds the byte at `at`, or null where it does not end within {@link longestText} bytes. */
function cStringAround(bytes: Buffer, at: number): string | null {
  const start = bytes.lastIndexOf(0, at) + 1;
  const end = bytes.indexOf(0, at);
  if (end < 0 || end - start > longestText) return null;
  return bytes.toString("latin1", start, end);
}

/** All texts in `bytes` by which a TLS library names itself, each once. */
export function signaturesIn(bytes: Buffer): readonly Signature[] {
  const found = new Map<string, Signature>();
  for (const { library, marker, text } of signatures) {
    for (let at = bytes.indexOf(marker); at >= 0; at = bytes.indexOf(marker, at + marker.length)) {
      const whole = cStringAround(bytes, at);
      const match = whole === null ? null : text.exec(whole);
      if (whole === null || match === null || found.has(whole)) continue;
      found.set(whole, { library, version: match[1]?.replace(/ +/g, " ") ?? null, text: whole });
    }
  }
  return [...found.values()];
}

interface Finding extends Signature {
  readonly from: string;
}

/** What an ELF file names itself in its read-only bytes. @throws InputError */
function readSignatures(elf: Elf, name: string): readonly Finding[] {
  const found = new Map<string, Finding>();
  for (const region of elf.readOnly()) {
    for (const { bytes } of elf.bytes(region)) {
      for (const one of signaturesIn(bytes)) {
        if (!found.has(one.text)) found.set(one.text, { ...one, from: `${name} ${region.name}` });
      }
    }
  }
  return [...found.values()];
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

/**
 * Which library and version a libssl file is.
 *
 * From 3.0 on the text is only in libcrypto, so the one that libssl would be linked with is read as well, and the one
 * beside it: where they differ, which of them a process uses is not known, and no version is told.
 *
 * @param path real path inside the root @throws InputError naming libssl; a libcrypto that cannot be read is a reason
 */
export function identify(root: Root, searchPath: SearchPath, path: string, elf: Elf): Identity {
  const findings = [...readSignatures(elf, basename(path))];
  const { needed, rpath, runpath } = elf.dynamic();
  // A name with a slash is a path of the process's own; a library's never is.
  const soname = needed.find((name) => /^libcrypto\.so[^/]*$/.test(name));
  if (soname === undefined) return decide(findings);

  const problems: string[] = [];
  const libcryptos: (() => Elf)[] = [];
  /** Adds what a libcrypto says; false where the dynamic linker would pass over it. */
  const hear = (candidate: string): boolean => {
    try {
      const open = (): Elf => Elf.open(root.host(candidate), candidate);
      using crypto = open();
      if (crypto.machine !== elf.machine) return false;
      findings.push(...readSignatures(crypto, soname));
      libcryptos.push(open);
      return true;
    } catch (error) {
      problems.push(messageOf(error));
      return false;
    }
  };
  const folder = dirname(path);
  const from = { folder, machine: elf.machine, rpath, runpath };
  const linked = findNeeded(root, searchPath, soname, from).find(hear);
  const beside = root.resolve(`${folder}/${soname}`);
  const heard = beside !== null && beside !== linked ? hear(beside) : linked !== undefined;

  const identity = { ...decide(findings), libcryptos };
  if (identity.version !== null) return identity;
  if (problems.length > 0) return { ...identity, reason: [identity.reason, ...problems].join("; ") };
  if (!heard && findings.length === 0) return { ...identity, reason: `its ${soname} was not found` };
  return identity;
}
