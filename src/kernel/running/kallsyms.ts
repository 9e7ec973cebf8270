import { readFileSync } from "node:fs";
import { type Btf, kinds } from "../../btf/btf.ts";
import { once } from "../../self/once.ts";
import { readKernelBtf } from "../fields/type-information.ts";

const KALLSYMS = "/proc/kallsyms";

/**
 * What gcc calls the pieces of a function that it split, best first: a copy for constant arguments, one with other
 * parameters, and a part of the body. In each of them an argument may be gone or elsewhere, which is no danger here:
 * a struct is believed only when it holds the values that we chose.
 */
const suffixes: readonly (string | undefined)[] = ["constprop", "isra", "part"];

/**
 * The names under which a kernel function that has none of its own may be found, best first; from the text of
 * /proc/kallsyms, `address type name [module]` a line.
 */
export function splitNames(kallsyms: string, target: string): string[] {
  const names = new Set<string>();
  // Only functions: t and T in the kernel's own notation. Names are looked for as they stand, dots and all.
  for (let at = kallsyms.indexOf(` ${target}.`); at >= 0; at = kallsyms.indexOf(` ${target}.`, at + 1)) {
    if (kallsyms[at - 1]?.toLowerCase() !== "t") continue;
    const [name = ""] = kallsyms.slice(at + 1, at + 256).split(/\s/, 1);
    if (rank(name, target) < suffixes.length) names.add(name);
  }
  return [...names].sort((a, b) => rank(a, target) - rank(b, target) || (a < b ? -1 : 1));
}

/** Which functions and tracepoints a kernel has; null where that cannot be told. */
export interface Symbols {
  hasFunction(name: string): boolean | null;
  hasTracepoint(name: string): boolean | null;
}

/** Read from the text of /proc/kallsyms, which has the names for every user, though not the addresses. */
export function kernelSymbols(kallsyms: string): Symbols {
  const isThere = (name: string, types = "\\w"): boolean =>
    new RegExp(` ${types} ${name}(?:\\t|$)`, "m").test(kallsyms);
  // A tracepoint's own variable and the function that calls its probes (Linux 5.10): the first only with KALLSYMS_ALL.
  const signs = ["__tracepoint_", "__traceiter_"].filter((sign) => kallsyms.includes(` ${sign}`));
  return {
    hasFunction: (name) =>
      kallsyms === "" ? null : isThere(name, "[tT]") || splitNames(kallsyms, name).length > 0,
    hasTracepoint: (name) => (signs.length === 0 ? null : signs.some((sign) => isThere(`${sign}${name}`))),
  };
}

/** The text of /proc/kallsyms; empty where it cannot be read, as without procfs. */
export function kallsymsHere(): string {
  try {
    return readFileSync(KALLSYMS, "latin1");
  } catch {
    return "";
  }
}

/**
 * The symbols of the running kernel; all unknown where they cannot be read. What its BTF names is there: pahole takes functions from
 * the kernel's own symbols, and each tracepoint has a typedef there (include/trace/bpf_probe.h, Linux 5.5). What BTF does not name is
 * looked for in /proc/kallsyms, which the kernel takes longer to write than a whole run for anything else.
 */
export function symbolsHere(): Symbols {
  const btf = once(typesHere);
  const kallsyms = once(() => kernelSymbols(kallsymsHere()));
  const isNamed = (name: string, kind: number): boolean => (btf()?.named(name, [kind]).length ?? 0) > 0;
  return {
    hasFunction: (name) => isNamed(name, kinds.function) || kallsyms().hasFunction(name),
    hasTracepoint: (name) => isNamed(`btf_trace_${name}`, kinds.typedef) || kallsyms().hasTracepoint(name),
  };
}

/** The kernel's BTF; null where there is none that can be read. */
function typesHere(): Btf | null {
  try {
    return readKernelBtf();
  } catch {
    return null;
  }
}

/** The place of a name's first suffix in the order of preference; behind all where it is none of them. */
function rank(name: string, target: string): number {
  const suffix = name.slice(target.length + 1).split(".", 1)[0];
  const found = suffixes.indexOf(suffix);
  return found < 0 ? suffixes.length : found;
}

/** The pieces of a function in the running kernel; none where its symbols cannot be read. */
export const splitNamesHere = (target: string): string[] => splitNames(kallsymsHere(), target);
