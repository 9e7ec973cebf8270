import { readdirSync } from "node:fs";
import { mappedForEver } from "../../../ffi/descriptors.ts";
import { Btf } from "../../btf/btf.ts";
import { parsePath, placeOf } from "../../btf/member.ts";
import { InputFile } from "../../input/input.ts";
import type { Evidence } from "../../offsets/evidence.ts";
import { kernelFields } from "./fields.ts";

/** The running kernel's own type information. */
export const KERNEL_BTF = "/sys/kernel/btf/vmlinux";

/** Bytes of BTF that are read at most. A kernel with everything built in has 10 MiB. */
const largestBtf = 128 << 20;

/** @param base what a module's builds on @throws InputError where it is not sound; the system's error where it cannot be read */
export function readKernelBtf(path: string = KERNEL_BTF, base?: Btf): Btf {
  using file = InputFile.open(path);
  // The kernel's own, from Linux 6.16 on: to read it takes a system call for each page.
  const mapped = path === KERNEL_BTF && file.size <= largestBtf ? mappedForEver(file.fd, file.size) : null;
  const bytes = mapped ?? file.read(0, file.size, "BTF", largestBtf);
  return new Btf(bytes, { path, ...(base && { base }) });
}

/** Where a kernel's types are told, by the source that reads them there. */
export const typeSources = { btf: "BTF", dwarf: "DWARF" } as const;
export type TypeSource = keyof typeof typeSources;

/** The kernel's types, and those of its modules, which are read where the kernel's own have no answer. */
export class Types {
  #modules: readonly Btf[] | undefined;

  constructor(
    readonly kernel: Btf,
    private readonly readModules: () => readonly Btf[] = () => [],
    readonly source: TypeSource = "btf",
  ) {}

  get modules(): readonly Btf[] {
    this.#modules ??= this.readModules();
    return this.#modules;
  }
}

/** The types of the running kernel and its modules. @throws InputError, or the system's error */
export function runningTypes(): Types {
  const kernel = readKernelBtf();
  const folder = KERNEL_BTF.slice(0, KERNEL_BTF.lastIndexOf("/"));
  return new Types(kernel, () =>
    readdirSync(folder)
      .filter((name) => `${folder}/${name}` !== KERNEL_BTF)
      .sort()
      .map((name) => readKernelBtf(`${folder}/${name}`, kernel)),
  );
}

/** What a kernel's own type information says of every field. @param source where it stood before it was BTF */
export function btfEvidence(btf: Btf, source: TypeSource = "btf"): Evidence[] {
  return kernelFields.map(({ constant, member }) => {
    const offset = memberOffset(btf, member);
    return typeof offset === "number"
      ? { source, constant, candidates: [offset] }
      : {
          source,
          constant,
          candidates: [],
          reason: `the kernel's ${typeSources[source]} has no ${member}: ${offset}`,
        };
  });
}

/**
 * Byte offset of `type.member[.member...]` from the start of the type.
 * @returns why there is none, where there is none: also of a bit-field that begins inside a byte, and of an empty struct,
 *   as possible_net_t is without CONFIG_NET_NS
 */
export function memberOffset(btf: Btf, member: string): number | string {
  const path = parsePath(member);
  const place = path === null ? "it is no member" : placeOf(btf, path);
  if (typeof place === "string") return place;
  if (btf.array(place.type) === null && btf.sizeOf(place.type) === 0) return "nothing is in it";
  return place.bitOffset % 8 === 0 ? place.bitOffset / 8 : "it begins inside a byte";
}
