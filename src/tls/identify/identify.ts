import type { VersionNodes } from "../../elf/dynamic.ts";
import type { Elf } from "../../elf/elf.ts";
import type { Root } from "../../host/root.ts";
import { folderOf, lastOf, shownName } from "../../input/name.ts";
import type { LibraryReport } from "../../output/document.ts";
import { messageOf } from "../../self/thrown.ts";
import { cStringAround, sourceMarker } from "../find/holds.ts";
import { type Companion, type Located, openIn } from "../find/locate.ts";
import { namesakeOf } from "../find/other-libraries.ts";
import { findNeeded, type SearchPath } from "../find/search-path.ts";
import { parseRelease } from "../layouts/release.ts";
import {
  admits,
  isLibcrypto,
  type LibsslNodes,
  libsslNodes,
  neededOfLibcrypto,
  seriesText,
} from "./version-nodes.ts";

type Library = LibraryReport["library"];

/** What a library file says of itself. A null `version` comes with a `reason`. */
export interface Identity {
  readonly library: Library;
  readonly version: string | null;
  /** The file and the part of it the text stands in, e.g. `libcrypto.so.3 .rodata`. */
  readonly versionFrom: string | null;
  readonly reason?: string;
  /** Another kind of TLS library that has OpenSSL's interface, e.g. `GnuTLS`. */
  readonly namesake?: string;
  /** What its own version nodes prove, for a libssl of OpenSSL. */
  readonly nodes?: LibsslNodes;
  /** What was found beside a version that is told, speaks against it, and chose nothing. */
  readonly contradictions?: readonly string[];
  /** Each libcrypto that the version was read from, open; absent where the file is to have none beside it. */
  readonly libcryptos?: readonly Located[];
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
  // The name of its providers is there where no one asks for the version, and the text above is not.
  { library: "openssl", text: /^OpenSSL Default Provider$/ },
  {
    library: "boringssl",
    text: /^(?:OpenSSL [\d.]+ \(compatible; BoringSSL\)|BoringSSL)$/,
  },
  // The path of a source file, as its errors carry it: all that a stripped program says of itself.
  { library: "boringssl", text: /(?:^|\/)boringssl[^/]{0,40}\/(?:src\/)?ssl\/ssl_lib\.cc?$/ },
  { library: "aws-lc", text: /(?:^|\/)aws-lc[^/]{0,40}\/(?:src\/)?ssl\/ssl_lib\.cc?$/ },
  {
    library: "aws-lc",
    text: /^(?:OpenSSL [\d.]+ \(compatible; )?AWS-LC(?: FIPS)?(?: (\d{1,4}\.\d{1,4}\.\d{1,4}))?\)?$/,
  },
  // Forks whose structs differ though their text may also carry OpenSSL's: never to be taken for it.
  { library: "libressl", text: /^LibreSSL (\d[\w.]*)$/ },
  { library: "tongsuo", text: /^(?:BabaSSL|Tongsuo) (\d[\w.-]*)$/ },
  // What _gnutls_global_init of lib/global.c logs.
  { library: "gnutls", text: /^Enabled GnuTLS (\d{1,4}\.\d{1,4}\.\d{1,4}) logging\.\.\.\n$/ },
];

/** Libraries that are recognised, and of which no layout is known. */
const unsupported: Partial<Record<Library, string>> = {
  "aws-lc": "AWS-LC",
  libressl: "LibreSSL",
  tongsuo: "Tongsuo",
};

/** `LibreSSL 3.8.2: not supported`; null for a library that is. */
export function notSupported({ library, version, namesake }: Identity): string | null {
  const name = namesake ?? unsupported[library];
  return name === undefined ? null : `${name}${version === null ? "" : ` ${version}`}: not supported`;
}

/** Forks of OpenSSL that may still carry its text. */
const forks: ReadonlySet<Library> = new Set(["libressl", "tongsuo"]);
/** Libraries whose libssl never has version nodes of OpenSSL's. */
const withoutNodes: ReadonlySet<Library> = new Set(["boringssl", "aws-lc", "libressl", "gnutls"]);

/**
 * Source files that one of the libraries alone has, as its errors carry them. Looked for where nothing else names the
 * library: builds move the folders above (`external/ssl/ssl/ssl_lib.cc`). Sources: the trees of OpenSSL since 1.1.0,
 * Tongsuo, LibreSSL since 3.2, BoringSSL, AWS-LC, which has BoringSSL's beside its own.
 */
const ownSources: readonly { library: Library; marker: Buffer; text: RegExp }[] = (
  [
    ["openssl", "ssl/statem/statem", /(?:^|\/)ssl\/statem\/statem_[a-z]+\.c$/],
    ["tongsuo", "ssl/statem_ntls/", /(?:^|\/)ssl\/statem_ntls\/\w+\.c$/],
    ["libressl", "tls13_legacy.c", /(?:^|\/)tls13_legacy\.c$/],
    ["boringssl", "ssl/ssl_credential.cc", /(?:^|\/)ssl\/ssl_credential\.cc$/],
    ["boringssl", "ssl/tls13_enc.cc", /(?:^|\/)ssl\/tls13_enc\.cc$/],
    ["boringssl", "crypto/fipsmodule/", /(?:^|\/)crypto\/fipsmodule\/[\w/-]+\.cc?\.inc$/],
    ["aws-lc", "ssl/ssl_transfer_asn1.cc", /(?:^|\/)ssl\/ssl_transfer_asn1\.cc$/],
  ] as const
).map(([library, marker, text]) => ({ library, marker: Buffer.from(marker), text }));

/**
 * OPENSSL_VERSION_STR and OPENSSL_FULL_VERSION_STR of opensslv.h, which the providers of OpenSSL 3 and later tell, as whole
 * C strings. A program's own version may look the same.
 */
const bareVersion = /\0([3-9]\.\d{1,2}\.\d{1,3}(?:[-+][\w.+-]{1,40})?)(?=\0)/g;

/** Each text above holds one of these. Few, since each is one pass over all constants. */
const markers = ["SSL", "AWS-LC", "Tongsuo", "GnuTLS"].map((text) => Buffer.from(text)).concat(sourceMarker);

/** A text found in a library: whole, and what it tells. */
export interface Signature {
  readonly library: Library;
  readonly version: string | null;
  readonly text: string;
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

interface Finding extends Signature {
  readonly from: string;
}

/** What the read-only bytes of files say, by file: a libcrypto that many libraries share is read once. */
export class Signatures {
  readonly #known = new Map<string, readonly Finding[]>();
  readonly #nodes = new Map<string, VersionNodes>();

  /** What an ELF file names itself; `from` is the region. @throws InputError */
  of(elf: Elf): readonly Finding[] {
    const known = this.#known.get(elf.identity);
    if (known !== undefined) return known;
    const found = new Map<string, Finding>();
    for (const { name, bytes } of pieces(elf)) {
      for (const one of signaturesIn(bytes)) {
        if (!found.has(one.text)) found.set(one.text, { ...one, from: name });
      }
    }
    this.#known.set(elf.identity, [...found.values()]);
    return [...found.values()];
  }

  /** The version nodes of a file. @throws InputError */
  nodes(elf: Elf): VersionNodes {
    const known = this.#nodes.get(elf.identity) ?? elf.versionNodes();
    this.#nodes.set(elf.identity, known);
    return known;
  }
}

/** The constants of a file, piece by piece, as {@link Elf.bytes} gives them. */
function* pieces(elf: Elf): Generator<{ readonly name: string; readonly bytes: Buffer }> {
  for (const region of elf.readOnly()) {
    for (const { bytes } of elf.bytes(region)) yield { name: region.name, bytes };
  }
}

/** What the paths of source files tell of a file that names no library. Each text once. */
function ownSourcesIn(elf: Elf): readonly Finding[] {
  const found = new Map<Library, Finding>();
  for (const { name, bytes } of pieces(elf)) {
    for (const { library, marker, text } of ownSources) {
      for (
        let at = bytes.indexOf(marker);
        at >= 0 && !found.has(library);
        at = bytes.indexOf(marker, at + 1)
      ) {
        const whole = cStringAround(bytes, at) ?? "";
        if (text.test(whole)) found.set(library, { library, version: null, text: whole, from: name });
      }
    }
  }
  if (found.has("aws-lc")) found.delete("boringssl");
  return [...found.values()];
}

/** What looks like the version of an OpenSSL 3 or later where its providers tell it; at most 64 texts. */
function bareVersionsIn(elf: Elf): readonly Finding[] {
  const found = new Map<string, Finding>();
  for (const { name, bytes } of pieces(elf)) {
    for (const [, text = ""] of bytes.toString("latin1").matchAll(bareVersion)) {
      if (found.size < 64) found.set(text, { library: "openssl", version: text, text, from: name });
    }
  }
  // A vendor's build has its version in it twice, with the suffix and without: the one with it counts.
  const isPlain = (text: string) =>
    [...found.keys()].some((other) => /^[-+]/.test(other.slice(text.length)) && other.startsWith(text));
  return [...found.values()].filter(({ text }) => !isPlain(text));
}

const listed = (items: Iterable<string>): string => [...new Set(items)].join(", ");

/** Joins everything that was found: one library and one version, or none with the reason. */
export function decide(all: readonly Finding[]): Identity {
  const fork = all.find(({ library }) => forks.has(library));
  // A fork may still carry the text of what it came from.
  const findings = fork === undefined ? all : all.filter(({ library }) => library !== "openssl");
  const [first] = findings;
  if (first === undefined) {
    return {
      library: "unknown",
      version: null,
      versionFrom: null,
      reason: "no version text in it or its libcrypto",
    };
  }
  const told = (some: readonly Finding[]): string =>
    listed(some.map(({ text, from }) => `${text} (${from})`));
  const nothing = { version: null, versionFrom: null };
  if (findings.some((one) => one.library !== first.library)) {
    return { library: "unknown", ...nothing, reason: `several libraries name themselves: ${told(findings)}` };
  }
  const versions = findings.filter((one) => one.version !== null);
  const [sure] = versions;
  if (sure === undefined)
    return {
      library: first.library,
      ...nothing,
      reason: `no version, so no published layout can be chosen: ${told(findings)}`,
    };
  if (versions.some((one) => one.version !== sure.version)) {
    return { library: first.library, ...nothing, reason: `version texts disagree: ${told(versions)}` };
  }
  return { library: sure.library, version: sure.version, versionFrom: sure.from };
}

const proofOf = (nodes: LibsslNodes, name: string): string => {
  const needs = nodes.needed === null ? "" : ` and needs ${nodes.needed} of libcrypto`;
  return `${name} is of ${seriesText(nodes)} by its version nodes (it defines ${nodes.defined}${needs})`;
};

/**
 * As {@link decide}, but what libssl's own version nodes rule out chooses nothing: a libcrypto's text is not libssl's.
 *
 * @param name libssl's, for the reasons
 */
export function weigh(findings: readonly Finding[], nodes: LibsslNodes | null, name: string): Identity {
  if (nodes === null) return decide(findings);
  const fits = ({ library, version }: Finding): boolean => {
    const release = library === "openssl" && version !== null ? parseRelease(version) : null;
    return !withoutNodes.has(library) && (release === null || admits(nodes, release));
  };
  const decided = { ...decide(findings.filter(fits)), nodes };
  const proof = proofOf(nodes, name);
  const contradictions = findings.filter((one) => !fits(one)).map(({ text, from }) => `${text} (${from})`);
  const contradicted =
    contradictions.length === 0 ? [] : [`${proof}, but beside it is ${listed(contradictions)}`];
  if (decided.version !== null) return { ...decided, contradictions: contradicted };
  // Without a text it is still OpenSSL by its nodes; several that name themselves stay what they are.
  const isNameless = decided.library === "unknown" && !findings.some(fits);
  const isTold = contradicted.length === 0 || findings.some((one) => fits(one) && one.version !== null);
  const reasons = [...(isTold ? [decided.reason] : []), contradicted[0] ?? proof];
  return { ...decided, library: isNameless ? "openssl" : decided.library, reason: reasons.join("; ") };
}

/** A library to identify, and what is around it. */
export interface LibrarySubject {
  /** The tree it lies in, where what it needs is looked up. */
  readonly root: Root;
  /** As of {@link Place.container}. */
  readonly container: string | null;
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
 * beside it (that alone, in a folder of its own), and those that its processes have mapped. What they say holds as far as
 * libssl's own version nodes allow it; where they differ beyond that no version is told. Of a deleted library only the
 * mapped ones count. Those that only other users' processes have count where there is no other.
 *
 * @param mayHear whether a mapped libcrypto is held to be what it seems
 * @param held takes over the libcryptos, which stay open until it is disposed
 * @throws InputError naming libssl; a libcrypto that cannot be read is a reason
 */
export function identify(
  elf: Elf,
  subject: LibrarySubject,
  {
    signatures,
    held,
    mayHear,
  }: { signatures: Signatures; held: DisposableStack; mayHear: (located: Located) => boolean },
): Identity {
  const { root, container, searchPath, path, companions = [], deleted = false } = subject;
  const name = shownName(lastOf(path));
  const { needed, soname: own, rpath, runpath } = elf.dynamic();
  const namesake = namesakeOf(own);
  if (namesake !== null)
    return { library: "unknown", version: null, versionFrom: null, reason: "not OpenSSL's own", namesake };

  const findings: Finding[] = [];
  const note = (from: string, told: readonly Finding[]): void => {
    for (const one of told) findings.push({ ...one, from: `${from} ${one.from}` });
  };
  note(name, signatures.of(elf));
  const versions = signatures.nodes(elf);
  const nodes = libsslNodes(versions);
  // A name with a slash is a path of the process's own; a library's never is.
  const soname = needed.find(isLibcrypto);
  if (soname === undefined) {
    if (findings.length === 0) note(name, ownSourcesIn(elf));
    const identity = weigh(findings, nodes, name);
    if (identity.library !== "openssl" || findings.some(({ version }) => version !== null)) return identity;
    const bare = bareVersionsIn(elf);
    if (bare.length === 1) note(name, bare);
    if (bare.length < 2) return weigh(findings, nodes, name);
    const texts = listed(bare.map(({ text }) => text));
    return { ...identity, reason: `${identity.reason}; several texts look like its version: ${texts}` };
  }

  const needs = neededOfLibcrypto(versions);
  const problems: string[] = [];
  const misfits: string[] = [];
  const libcryptos: Located[] = [];
  const seen = new Set<string>();
  /** Adds what a libcrypto says; false where the dynamic linker would pass over it, or it may not be heard. */
  const hear = (open: () => Located, isMapped = false): boolean => {
    using taken = new DisposableStack();
    try {
      const located = taken.use(open());
      const crypto = located.elf;
      if (crypto.machine !== elf.machine || (isMapped && !mayHear(located))) return false;
      if (seen.has(crypto.identity)) return true;
      seen.add(crypto.identity);
      const { defined } = signatures.nodes(crypto);
      // The linker lets a library without any version nodes pass.
      const lacking = defined.length === 0 ? [] : needs.filter((node) => !defined.includes(node));
      if (lacking.length > 0) {
        misfits.push(
          `${crypto.path} cannot be its libcrypto: it defines no ${listed(lacking)}, which ${name} needs`,
        );
        return true;
      }
      note(soname, signatures.of(crypto));
      libcryptos.push(located);
      held.use(taken.move());
      return true;
    } catch (error) {
      problems.push(messageOf(error));
      return false;
    }
  };
  const inTree = (candidate: string) => () => openIn(root, container, candidate);
  const hearMapped = (sure: boolean): boolean =>
    companions
      .filter(({ name: its, isSure }) => its.startsWith(soname) && isSure === sure)
      .map(({ open }) => hear(open, true))
      .includes(true);
  let heard = hearMapped(true);
  if (!deleted) {
    const folder = folderOf(path);
    const beside = root.resolve(`${folder}/${soname}`);
    const isBeside = beside !== null && hear(inTree(beside));
    // Where the linker does not look by itself, whoever loads the one from there loads the other from there too.
    const isApart = rpath === null && runpath === null && !searchPath.folders().some((one) => one === folder);
    const from = { folder, machine: elf.machine, rpath, runpath };
    const candidates = isBeside && isApart ? [] : findNeeded(root, searchPath, soname, from);
    for (const candidate of candidates) {
      if (!hear(inTree(candidate))) continue;
      heard = true;
      break;
    }
    heard ||= isBeside;
  }
  heard ||= hearMapped(false);

  const identity = { ...weigh(findings, nodes, name), libcryptos };
  if (identity.version !== null) {
    const contradictions = [...(identity.contradictions ?? []), ...misfits];
    return contradictions.length === 0 ? identity : { ...identity, contradictions };
  }
  const lost = heard || findings.length > 0 ? [] : [`its ${soname} was not found`];
  const reasons = [...problems, ...misfits, ...lost];
  if (reasons.length === 0) return identity;
  const told = findings.length > 0 ? identity.reason : nodes === null ? undefined : proofOf(nodes, name);
  return { ...identity, reason: [...(told === undefined ? [] : [told]), ...reasons].join("; ") };
}
