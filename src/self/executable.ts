import { isEmbedded } from "./assets.ts";

/** This very program, also where its file was deleted or replaced since it started. */
export const ownProgram: readonly string[] = isEmbedded
  ? ["/proc/self/exe"]
  : [process.execPath, new URL("../main.ts", import.meta.url).pathname];

/** Where the thread begins that ends a run at its deadline: a file of its own beside the program's, in the executable too. */
export const watchdog: string = new URL(isEmbedded ? "./watchdog.ts" : "../watchdog.ts", import.meta.url)
  .href;
