import { Failure } from "../output/failure.ts";
import { readWhereabouts, type Stage } from "../self/whereabouts.ts";
import type { Watch } from "./deadline-state.ts";

/** The failure to be done in time, with what the time went to. */
export function lateness({
  milliseconds,
  whereabouts,
  end,
}: Pick<Watch, "milliseconds" | "whereabouts"> & Partial<Pick<Watch, "end">>): Failure {
  const told = readWhereabouts(whereabouts, end);
  const where = told === null ? "" : `: ${whereTo(told)}`;
  return new Failure("E_DEADLINE", `not done after ${milliseconds} ms${where}; allow more with --deadline`);
}

function whereTo({ current, longest }: { current: Stage; longest: Stage }): string {
  const took = ({ milliseconds, what }: Stage): string => `${Math.round(milliseconds)} of them for ${what}`;
  return current.milliseconds >= longest.milliseconds
    ? took(current)
    : `${took(longest)}, and it was at ${current.what}`;
}
