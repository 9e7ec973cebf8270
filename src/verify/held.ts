import type { Verified } from "../output/verify-schema.ts";

type Counts = Readonly<Record<string, { readonly compared: number; readonly held: number }>>;

const isTrue = (counts: Counts): boolean => Object.values(counts).every((one) => one.held === one.compared);
const isAny = (counts: Counts): boolean => Object.keys(counts).length > 0;

/**
 * Whether every comparison held, and there were some: of the kernel of each constant, of each library. An end or an event that
 * was missed is a failure, and a constant that its program takes and that is not known.
 */
export function hasHeld({ kernel, tls = [] }: Verified): boolean {
  const kernelHeld =
    kernel === undefined ||
    (isAny(kernel.constants) && isTrue(kernel.constants) && kernel.not_compared.length === 0);
  return (
    kernelHeld &&
    tls.every(
      ({ items, lost, missed, not_known }) =>
        isAny(items) && isTrue(items) && lost === 0 && missed === 0 && not_known.length === 0,
    )
  );
}
