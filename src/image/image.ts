import { cLibrary } from "../../ffi/libc.ts";
import { version } from "../../package.json";
import { Btf, kinds } from "../btf/btf.ts";
import { kernelIdentity } from "../host/identity.ts";
import { InputError } from "../input/input.ts";
import { type Asked, askedVerdicts, namesOf } from "../kernel/asked.ts";
import { kernelFields } from "../kernel/fields/fields.ts";
import type { Families } from "../kernel/fields/options.ts";
import { btfEvidence, memberOffset, type TypeSource, Types } from "../kernel/fields/type-information.ts";
import { verdictsOn } from "../kernel/kernel.ts";
import { type Document, unknownHost } from "../output/document.ts";
import { unknownRelease } from "../output/earlier.ts";
import { Failure } from "../output/failure.ts";
import { formatVersion } from "../output/schema-parts.ts";
import { toFields } from "../output/verdicts.ts";
import type { ImageKernel, SoughtTypes } from "./kernel-file.ts";

/** What is asked of a kernel that does not run here. */
export interface ImageQuestion {
  /** The kinds of type information that are read: BTF, DWARF. */
  readonly sources: readonly TypeSource[];
  readonly families: Families;
  /** Members of its types besides, and whether they are all that is wanted. */
  readonly asked: readonly Asked[];
  readonly isOnlyAsked: boolean;
}

/** What a kernel that does not run here was built of. */
export interface ImageTypes {
  /** The runtime's name of what the kernel is for; `unknown` where neither its file nor its types tell. */
  readonly arch: "x64" | "arm64" | "unknown";
  readonly release: string | null;
  /** Its BTF as bytes, and parsed. */
  readonly bytes: Buffer;
  readonly btf: Btf;
  /** The kind of type information that it was read from. */
  readonly source: TypeSource;
}

/** What has to be read of a kernel's file to answer. */
export const soughtFor = ({ sources, asked, isOnlyAsked }: ImageQuestion): SoughtTypes => ({
  sources,
  names: namesOf([...asked, ...(isOnlyAsked ? [] : kernelFields.map(({ member }) => ({ text: member })))]),
});

/** A kernel's types. @throws Failure E_NO_BTF where it has none, InputError where they are not sound */
export function imageTypes(
  { btf: own, path, release, machine }: ImageKernel,
  sources: readonly TypeSource[] = ["btf"],
): ImageTypes {
  if (own === null) {
    const kernel = release === null ? "the kernel" : `kernel ${release}`;
    throw new Failure("E_NO_BTF", `${path}: ${kernel} ${lacks(sources)}`, "impossible");
  }
  const btf = new Btf(own.bytes, { path: own.path, at: own.at });
  const [long] = btf.named("long unsigned int", [kinds.int]);
  if (long !== undefined && btf.sizeOf(long) !== 8)
    throw new InputError(own.path, own.at, "BTF of a machine of 32 bits is not supported");
  return { arch: archOf(machine, btf), release, bytes: own.bytes, btf, source: own.source };
}

const lacks = (sources: readonly TypeSource[]): string =>
  sources.includes("btf")
    ? "has no BTF: it was built without CONFIG_DEBUG_INFO_BTF; run offsetof on a machine that runs it"
    : "has no debug information (DWARF); name the vmlinux of its package of debug symbols, or --source btf";

function archOf(machine: ImageKernel["machine"], btf: Btf): ImageTypes["arch"] {
  const isThere = (member: string): boolean => typeof memberOffset(btf, member) === "number";
  if (machine === "x86_64" || (machine === null && isThere("pt_regs.r15"))) return "x64";
  return machine === "aarch64" || isThere("user_pt_regs.pstate") ? "arm64" : "unknown";
}
const machines = { x64: "x86_64", arm64: "aarch64", unknown: "unknown" } as const;

/**
 * What its types tell of a kernel that does not run here, as a document of the machine that would run it. What only that machine
 * could tell is null.
 * @throws Failure, InputError as {@link imageTypes}
 */
export function imageDocument(kernel: ImageKernel, question: ImageQuestion): Document {
  const started = performance.now();
  const { arch, btf, source } = imageTypes(kernel, question.sources);
  const types = new Types(btf, () => [], source);
  const verdicts = [
    ...(question.isOnlyAsked ? [] : verdictsOn(btfEvidence(btf, source), question.families)),
    ...askedVerdicts(question.asked, types, []),
  ];
  return {
    format_version: formatVersion,
    tool: { name: "offsetof", version, arch, libc: cLibrary() },
    host: { kernel: identityOf(kernel, machines[arch]), ...unknownHost, btf: source === "btf" },
    kernel: {
      image: { path: kernel.path, build_id: kernel.buildId },
      bytecode: null,
      strategy: null,
      attached: [],
      events: 0,
      duration_ms: Math.round((performance.now() - started) * 10) / 10,
      ...toFields(verdicts),
    },
    diagnostics: [],
  };
}

function identityOf(kernel: ImageKernel, machine: string): Document["host"]["kernel"] {
  const { release, version: told, signature } = kernel;
  if (release === null) return { release: unknownRelease, version: [0, 0, 0], distro: null, machine };
  try {
    const { version: numbers, distro } = kernelIdentity({ release, machine, version: told, signature });
    return { release, version: [...numbers], distro, machine };
  } catch (error) {
    // The error names a file of this host (/proc/version), which has nothing to do with the image.
    if (error instanceof InputError) throw new InputError(kernel.path, 0, `no version in "${release}"`);
    throw error;
  }
}
