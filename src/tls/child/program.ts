import { isEmbedded } from "../../assets.ts";

/** This very program, also where its file was deleted or replaced since it started. */
export const program: readonly string[] = isEmbedded
  ? ["/proc/self/exe"]
  : [process.execPath, new URL("../../main.ts", import.meta.url).pathname];
