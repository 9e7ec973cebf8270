import type { Verdict } from "../offsets/truth.ts";
import type { KernelReport } from "./document.ts";

/** Verdicts as a part of the document has them: the bare numbers, and why each is what it is. */
export function toFields(
  verdicts: Iterable<readonly [constant: string, verdict: Verdict]>,
): Pick<KernelReport, "constants" | "fields"> {
  const rows = [...verdicts];
  return {
    constants: Object.fromEntries(rows.map(([constant, { value }]) => [constant, value])),
    fields: Object.fromEntries(rows.map(([constant, verdict]) => [constant, shown(verdict)])),
  };
}

/** A verdict as the document has it. */
const shown = ({ evidence, ...verdict }: Verdict): KernelReport["fields"][string] => ({
  ...verdict,
  evidence: Object.fromEntries(Object.entries(evidence).map(([source, offsets]) => [source, [...offsets]])),
});
