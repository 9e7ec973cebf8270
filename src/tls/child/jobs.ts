/**
 * Something that a child can be asked to do, which runs foreign code.
 *
 * @param request what the parent sent, still to be checked
 * @param files paths of the files to load
 * @returns what JSON can hold, at most 64 KiB of it
 */
export type Job = (request: unknown, files: readonly string[]) => unknown;

/** All jobs. Their code is loaded before the child is confined, what they load afterwards. */
export const jobs = {
  probe: () => import("../probe/job.ts").then((module) => module.probe),
  sessions: () => import("../probe/job.ts").then((module) => module.sessions),
} as const satisfies Record<string, () => Promise<Job>>;

export type JobName = keyof typeof jobs;
