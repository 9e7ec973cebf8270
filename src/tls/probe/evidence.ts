import * as v from "valibot";
import { glibcVersion } from "../../../ffi/libc.ts";
import { type Elf, segment } from "../../elf/elf.ts";
import { checkExecutable, type OpenedFile, UntrustedError } from "../../host/trusted.ts";
import type { Evidence } from "../../offsets/evidence.ts";
import { runChild } from "../child/run.ts";
import { constantsOf } from "../layouts.ts";
import { answerSchema, type ProbeLibrary } from "./request.ts";

/** Milliseconds for the child; a real library takes 100. */
const longestProbe = 5000;

/** Bytes of dynamic strings; libcrypto has 300 KiB. */
const mostStrings = 16 << 20;

/** Architectures as Node.js names them. */
const architectures: Readonly<Record<Elf["machine"], string>> = { x86_64: "x64", aarch64: "arm64" };

/** A library's files, open. */
export interface LibraryFiles {
  readonly ssl: Elf;
  /** Every libcrypto that it may be used with. A file with both inside is both. */
  readonly cryptos: readonly Elf[];
}

/** What may be executed. */
export interface Trust {
  /** Where each of the files lies, by its identity. */
  readonly places: ReadonlyMap<string, Omit<OpenedFile, "fd">>;
  /** Whether a file of this identity is executed though others could have written it. */
  readonly isNamed: (identity: string) => boolean;
  /** Where procfs is mounted. */
  readonly proc: string;
}

/** What was measured; or why nothing was. */
export type Probed = { readonly evidence: readonly Evidence[] } | { readonly reason: string };

/**
 * Measures a library by loading it into a confined child and having it shake hands with itself there. Each constant comes
 * with one candidate, bytes from the start of the type, or with a reason. Never throws for what the library does.
 */
export async function probeEvidence(
  library: ProbeLibrary,
  { ssl, cryptos }: LibraryFiles,
  trust: Trust,
): Promise<Probed> {
  const loadable = filesToLoad({ ssl, cryptos }, trust);
  if ("reason" in loadable) return loadable;
  const outcome = await runChild("probe", { library }, { files: loadable.fds, milliseconds: longestProbe });
  if (outcome.state !== "answered") return { reason: outcome.reason };
  const answer = v.safeParse(answerSchema(await constantsOf(library)), outcome.answer);
  if (!answer.success) return { reason: "what it answered is no answer" };
  return { evidence: answer.output.map((one) => ({ source: "probe", ...one })) };
}

/** The descriptors of the files for a child that loads them, the library last; or why it must not or cannot. */
export function filesToLoad(
  { ssl, cryptos }: LibraryFiles,
  trust: Trust,
): { readonly fds: readonly number[] } | { readonly reason: string } {
  const reason = whyNot(ssl, cryptos) ?? whyUntrusted([...cryptos, ssl], trust);
  // A file with both inside is loaded once.
  return reason === null
    ? { fds: [...new Map([...cryptos, ssl].map((elf) => [elf.identity, elf.fd])).values()] }
    : { reason };
}

/** Why the files cannot be loaded into a process of this machine together; null where they can. */
function whyNot(ssl: Elf, cryptos: readonly Elf[]): string | null {
  if (architectures[ssl.machine] !== process.arch)
    return `it is for ${ssl.machine}, which this machine is not`;
  // What a linker makes to be started has an interpreter, and the dynamic linker loads no such file.
  if (ssl.type === "executable" || ssl.programHeaders.some(({ type }) => type === segment.interp)) {
    return "it is a program, which cannot be loaded into another";
  }
  if (cryptos.length === 0) return "its libcrypto was not found";
  if (cryptos.length > 1) return "it may be used with several libcryptos";
  return [...cryptos, ssl].map(whyOtherLibc).find((reason) => reason !== null) ?? null;
}

/** Why the C library in this process does not serve a file; null where it does, or is not asked for. */
function whyOtherLibc(elf: Elf): string | null {
  const asked = elf.dynamic().needed.find((name) => /^libc\.(so\.6$|musl-)/.test(name));
  if (asked === undefined) return null;
  const own = glibcVersion();
  if ((asked === "libc.so.6") !== (own !== null))
    return `it needs ${asked}, this program has another C library`;
  const needed = newestGlibc(elf);
  return needed === null || own === null || Bun.semver.order(`${needed}.0`, `${own}.0`) <= 0
    ? null
    : `it needs GLIBC_${needed}, this machine's C library is ${own}`;
}

/** The newest version of the GNU C library that a file's dynamic strings name; null where they name none. */
function newestGlibc(elf: Elf): string | null {
  const strings = elf.sections().find(({ name }) => name === ".dynstr");
  if (strings === undefined) return null;
  const text = elf.contents(strings, mostStrings).toString("latin1");
  const versions = [...text.matchAll(/GLIBC_(\d{1,3}\.\d{1,3})/g)].map(([, version = ""]) => version);
  return versions.sort((one, other) => Bun.semver.order(`${one}.0`, `${other}.0`)).at(-1) ?? null;
}

/** Why one of the files must not be executed; null where all may be. */
function whyUntrusted(files: readonly Elf[], { places, isNamed, proc }: Trust): string | null {
  try {
    for (const { fd, identity, path } of files) {
      const place = places.get(identity);
      if (place === undefined) throw new UntrustedError(`nobody knows where ${path} lies`);
      checkExecutable({ fd, ...place }, isNamed, proc);
    }
    return null;
  } catch (error) {
    if (error instanceof UntrustedError) return error.message;
    throw error;
  }
}
