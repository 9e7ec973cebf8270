import type { Jobs } from "../child/outcome.ts";

/** What a child can be asked to do. */
export const jobs: Jobs = {
  probe: () => import("./job.ts").then((module) => module.probe),
  sessions: () => import("./job.ts").then((module) => module.sessions),
};
