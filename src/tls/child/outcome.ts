import * as v from "valibot";

/**
 * Something that a child can be asked to do, which runs foreign code.
 *
 * @param request what the parent sent, still to be checked
 * @param files paths of the files to load
 * @returns what JSON can hold, at most 64 KiB of it
 */
export type Job = (request: unknown, files: readonly string[]) => unknown;

export const jobNames = ["probe", "sessions"] as const;
export type JobName = (typeof jobNames)[number];
/** The code of each, which is loaded before the child is confined; what that loads is afterwards. */
export type Jobs = Readonly<Record<JobName, () => Promise<Job>>>;

/** What the child writes: one JSON line with one of these. */
export const messageSchema = v.union([
  v.strictObject({ answer: v.unknown() }),
  /** The job was begun and failed. */
  v.strictObject({ failed: v.string() }),
  /** Nothing foreign ran: the child could not be confined as it must be. */
  v.strictObject({ refused: v.string() }),
]);
export type ChildMessage = v.InferOutput<typeof messageSchema>;

/** What came of a job. Where there is no answer, `reason` says why, for a person. */
export type Outcome =
  | { readonly state: "answered"; readonly answer: unknown }
  /** The foreign code ran, or may have: it failed, crashed, took too long, or wrote what is no answer. */
  | { readonly state: "failed"; readonly reason: string }
  /** The foreign code did not run. */
  | { readonly state: "refused"; readonly reason: string };
