/** The first argument by which this program starts itself as a child; no command. */
export const childArgument = "@child";
/** The first argument of a child that asks mounts whether they answer (asker.ts). */
export const askArgument = "@ask";
/** The first argument of a child that reads a kernel's image (image/readers.ts). */
export const imageArgument = "@image";
/** The first argument of a process that prints what another one knew at its deadline (late.ts, assets/build/launcher/watch.c). */
export const lateArgument = "@late";
/** The variable that starts this program on the musl that it carries (assets/build/launcher/launcher.c). */
export const muslVariable = { OFFSETOF_LIBC: "musl" } as const;
