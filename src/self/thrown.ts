/** What was thrown, in words. */
export const messageOf = (thrown: unknown): string =>
  thrown instanceof Error ? thrown.message : String(thrown);

/** The name of the system's errno, such as `ENOENT`; undefined where it is no system call that failed. */
export const codeOf = (thrown: unknown): string | undefined =>
  thrown instanceof Error && "code" in thrown ? String(thrown.code) : undefined;

/** Something of procfs is not there any more: a process may end at any time. */
export const isGone = (thrown: unknown): boolean => ["ENOENT", "ESRCH"].includes(codeOf(thrown) ?? "");
/** Something of procfs may not be looked at. */
export const isDenied = (thrown: unknown): boolean => ["EACCES", "EPERM"].includes(codeOf(thrown) ?? "");
