import * as v from "valibot";
import { SystemError } from "../../../ffi/error.ts";
import { glibcVersion, type LibraryKind, libraryKind } from "../../../ffi/libc.ts";
import type { Elf } from "../../elf/elf.ts";
import { segment } from "../../elf/records.ts";
import { checkExecutable, UntrustedError } from "../../host/trusted.ts";
import { digestOf } from "../../input/digest.ts";
import { InputError } from "../../input/input.ts";
import type { Evidence } from "../../offsets/evidence.ts";
import { isEmbedded } from "../../self/assets.ts";
import { share } from "../../self/whereabouts.ts";
import { runChild } from "../child/child.ts";
import { boundsOf, type KnownLibrary } from "../layouts/layouts.ts";
import { closureOf, isOfMusl, type Loadable, LoadError, type Trust } from "./closure.ts";
import { answerSchema } from "./request.ts";

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

/** What was measured; or why nothing was. */
export type Probed = { readonly evidence: readonly Evidence[] } | { readonly reason: string };

/**
 * Measures a library by loading it into a confined child and having it shake hands with itself there. Each constant comes
 * with one candidate, bytes from the start of the type, or with a reason. Never throws for what the library does.
 *
 * @param known what was measured before, by the bytes of all that was loaded: a copy of that is not measured again. Without it
 *   nothing is compared, which takes time
 */
export async function probeEvidence(
  library: KnownLibrary,
  { ssl, cryptos }: LibraryFiles,
  trust: Trust,
  known?: Map<string, Promise<Probed>>,
): Promise<Probed> {
  const loadable = filesToLoad({ ssl, cryptos }, trust);
  if ("reason" in loadable) return loadable;
  using files = loadable;
  if (known === undefined) return await measured(library, files);
  const key = digestOf(files.fds);
  const before = known.get(key) ?? measured(library, files);
  known.set(key, before);
  return await before;
}

/** A real library takes the child 30 milliseconds. */
async function measured(library: KnownLibrary, { fds, crypto, libc }: Loadable): Promise<Probed> {
  const options = { files: fds, milliseconds: share(), libc };
  const outcome = await runChild("probe", { library, crypto }, options);
  if (outcome.state !== "answered") return { reason: outcome.reason };
  const answer = v.safeParse(answerSchema(await boundsOf(library)), outcome.answer);
  if (!answer.success) return { reason: "what it answered is no answer" };
  return { evidence: answer.output.map((one) => ({ source: "probe", ...one })) };
}

/**
 * All files for a child that loads the library, held; or the reason why it must not or cannot load them. Nothing is executed, and what
 * is wrong with the files is a reason: it never throws for that.
 */
export function filesToLoad(
  { ssl, cryptos }: LibraryFiles,
  trust: Trust,
): Loadable | { readonly reason: string } {
  try {
    const libc = kindOf(ssl) ?? libraryKind();
    const check = (elf: Elf): void => checkLoadable(elf, libc);
    check(ssl);
    const [crypto] = cryptos;
    if (crypto === undefined) throw new LoadError("its libcrypto was not found");
    if (cryptos.length > 1) throw new LoadError("it may be used with several libcryptos");
    check(crypto);
    checkTrusted([crypto, ssl], trust);
    return closureOf(ssl, crypto, { trust, check, libc });
  } catch (error) {
    const isReason = [UntrustedError, LoadError, InputError, SystemError].some(
      (kind) => error instanceof kind,
    );
    if (isReason && error instanceof Error) return { reason: error.message };
    throw error;
  }
}

/** Checks that a file can be loaded into a process of this machine that has such a C library. @throws LoadError */
function checkLoadable(elf: Elf, libc: LibraryKind): void {
  const reason = whyNot(elf) ?? whyOtherLibc(elf, libc);
  if (reason !== null) throw new LoadError(reason);
}

function whyNot({ machine, type, programHeaders }: Elf): string | null {
  if (architectures[machine] !== process.arch) return `it is for ${machine}, which this machine is not`;
  // What a linker makes to be started has an interpreter, and the dynamic linker loads no such file.
  return type === "executable" || programHeaders.some((header) => header.type === segment.interp)
    ? "it is a program, which cannot be loaded into another"
    : null;
}

/** The C library by its name that a file needs itself; undefined where it needs none. */
const neededLibc = (elf: Elf): string | undefined =>
  elf.dynamic().needed.find((name) => name === "libc.so.6" || isOfMusl(name));

/** Which kind of C library a file is made for; null where it asks for none. */
function kindOf(elf: Elf): LibraryKind | null {
  const needed = neededLibc(elf);
  if (needed === undefined) return null;
  return isOfMusl(needed) ? "musl" : "glibc";
}

/** Why a file cannot be loaded into a process with such a C library that this program can start; null where it can. */
function whyOtherLibc(elf: Elf, libc: LibraryKind): string | null {
  const needed = neededLibc(elf);
  if (kindOf(elf) !== null && kindOf(elf) !== libc)
    return `it needs ${needed}, and what it is loaded with is made for ${libc}`;
  const own = glibcVersion();
  if (libc === "musl")
    return own === null || isEmbedded ? null : `it needs ${needed}, this program has another C library`;
  if (own === null)
    return `it needs ${needed}, and here is no glibc that this program runs on: it runs on its own musl`;
  const newest = newestGlibc(elf);
  return newest === null || Bun.semver.order(`${newest}.0`, `${own}.0`) <= 0
    ? null
    : `it needs GLIBC_${newest}, this machine's C library is ${own}`;
}

/** What version nodes of the GNU C library begin with. */
const GLIBC = "GLIBC_";

/** The newest version of the GNU C library that a file's dynamic strings name; null where they name none. */
function newestGlibc(elf: Elf): string | null {
  const strings = elf.sections().find(({ name }) => name === ".dynstr");
  if (strings === undefined) return null;
  const bytes = elf.contents(strings, mostStrings);
  const versions: string[] = [];
  for (let at = bytes.indexOf(GLIBC); at >= 0; at = bytes.indexOf(GLIBC, at + 1)) {
    const start = at + GLIBC.length;
    const [version] = /^\d{1,3}\.\d{1,3}/.exec(bytes.toString("latin1", start, start + 7)) ?? [];
    if (version !== undefined) versions.push(version);
  }
  return versions.sort((one, other) => Bun.semver.order(`${one}.0`, `${other}.0`)).at(-1) ?? null;
}

/** @throws UntrustedError where one of the files must not be executed */
function checkTrusted(files: readonly Elf[], { places, seenAs, isNamed, proc }: Trust): void {
  for (const { fd, identity, path } of files) {
    const place = places.get(identity);
    if (place === undefined) throw new UntrustedError(`nobody knows where ${path} lies`);
    checkExecutable({ fd, ...seenAs(place) }, isNamed, proc);
  }
}
