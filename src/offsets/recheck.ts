import type { Observation } from "./observation.ts";
import type { Solution } from "./solver.ts";

/**
 * Looks once more, byte for byte, whether every observation that expects something of a constant holds it at the solved
 * offset. It shares no code with the solver: a fault of that one, or of a machine that computes wrongly, shows here
 * before a number is told.
 */
export function recheck(
  constant: string,
  solution: Solution,
  observations: readonly Observation[],
): Solution {
  if (solution.is !== "solved") return solution;
  const { offset } = solution;
  for (const { bytes, readable, expected } of observations) {
    const { value, mask } = expected.get(constant) ?? {};
    if (value === undefined) continue;
    for (let index = 0; index < value.length; index++) {
      const at = offset + index;
      let isKnown = false;
      for (const { start, end } of readable) isKnown ||= at >= start && at < end && at < bytes.length;
      const bits = mask === undefined ? 0xff : (mask[index] ?? 0);
      if (!isKnown || ((bytes[at] ?? 0) & bits) === ((value[index] ?? 0) & bits)) continue;
      return {
        is: "open",
        reason: `${offset} was found, and does not hold what is expected when looked at again`,
      };
    }
  }
  return solution;
}
