/** The first argument by which this program starts itself as a child; no command. */
export const childArgument = "@child";
/** The same, as one that asks mounts (asker.ts). */
export const askArgument = "@ask";
/** The same, as one that reads a kernel's image (image/readers.ts). */
export const imageArgument = "@image";
/** The variable that starts this program on the musl that it carries (assets/build/launcher/launcher.c). */
export const muslVariable = { OFFSETOF_LIBC: "musl" } as const;
