import { readlinkSync } from "node:fs";
import * as v from "valibot";
import { type Elf, segment } from "../../elf/elf.ts";
import { checkExecutable, UntrustedError } from "../../host/trusted.ts";
import type { Evidence } from "../../offsets/evidence.ts";
import { runChild } from "../child/run.ts";
import { answerSchema, type ProbeLibrary } from "./request.ts";

/** Milliseconds for the child; a real library takes 100. */
const longestProbe = 5000;

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
  /** Where the files' tree begins on this host: `/`, or a container's `/proc/PID/root`. */
  readonly root: string;
  /** Host paths of files that are executed though others could have written them. */
  readonly named: readonly string[];
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
  const answer = v.safeParse(answerSchema, outcome.answer);
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
  return cryptos.length > 1 ? "it may be used with several libcryptos" : null;
}

const deletedSuffix = " (deleted)";

/** Why one of the files must not be executed; null where all may be. */
function whyUntrusted(files: readonly Elf[], { root, named }: Trust): string | null {
  try {
    for (const { fd } of files) {
      const link = readlinkSync(`/proc/self/fd/${fd}`);
      const deleted = link.endsWith(deletedSuffix);
      const path = deleted ? link.slice(0, -deletedSuffix.length) : link;
      checkExecutable({ fd, root, path, deleted }, named);
    }
    return null;
  } catch (error) {
    if (error instanceof UntrustedError) return error.message;
    throw error;
  }
}
