import type { Status } from "../offsets/truth.ts";

/** How sure each status is. `absent` is known, though no number. */
export const sureness: Readonly<Record<Status, number>> = {
  confirmed: 3,
  absent: 3,
  single: 2,
  assumed: 1,
  conflict: 0,
  unresolved: 0,
};

/** The first of the surest of these. */
export const surest = <Told extends { readonly status: Status }>(told: readonly Told[]): Told | undefined =>
  told.reduce<Told | undefined>(
    (best, one) => (best === undefined || sureness[one.status] > sureness[best.status] ? one : best),
    undefined,
  );
