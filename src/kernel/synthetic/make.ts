import { btfOf } from "../../btf/encode.ts";
import type { KernelConstant } from "../fields/fields.ts";
import type { Composite } from "./ctype.ts";
import { btfTypes } from "./numbering.ts";
import { type KnownOffset, placeMembers, type Unplaced, type Wide } from "./place.ts";
import { hollow, type RegisterSet, uapi } from "./uapi.ts";

/** BTF that was made, and what is not in it. */
export interface MadeBtf {
  readonly bytes: Uint8Array;
  readonly unplaced: readonly Unplaced[];
  /** Members that only a crawl measures, and of which no place is known. */
  readonly unmeasured: readonly Unplaced[];
  /** Types whose true size is not known: those in the BTF end behind their last known member. */
  readonly partial: ReadonlySet<string>;
}

/**
 * BTF of what is known of a kernel: of the constants that are certain, and of what no kernel of its version may change.
 * Null where no constant is known. The same constants, machine and version give the same bytes.
 * @param version as `host.kernel.version` of a document @param traced structs of the kernel's tracepoints
 * @param wide members that a crawl finds
 */
export function makeBtf(
  known: (constant: KernelConstant) => KnownOffset,
  machine: RegisterSet,
  version: readonly number[],
  traced: readonly Composite[] = [],
  wide: readonly Wide[] = [],
): MadeBtf | { readonly bytes: null; readonly unplaced: readonly Unplaced[] } {
  const { structs, unplaced, unmeasured } = placeMembers(known, wide);
  if (structs.length === 0) return { bytes: null, unplaced };
  const types = btfTypes([...structs, ...uapi(machine, version), ...traced]);
  // The kernel's pt_regs of arm64 goes on behind what a program may read of it.
  const cut = machine === "arm64" ? ["pt_regs"] : [];
  return {
    bytes: btfOf(types),
    unplaced,
    unmeasured,
    partial: new Set([...[...structs, ...traced].map(({ name }) => name), ...hollow, ...cut]),
  };
}
