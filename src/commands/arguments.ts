import { readFileSync } from "node:fs";
import { nameOf } from "../input/name.ts";

/** What the runtime puts in place of bytes that are not of UTF-8. */
const lost = "\ufffd";

/**
 * The arguments with all their bytes, as names of files are kept: the runtime has lost those that are not of UTF-8, the kernel
 * has them still.
 *
 * @param args as the runtime gives them
 */
export function readArguments(args: readonly string[]): string[] {
  if (!args.some((one) => one.includes(lost))) return [...args];
  const all = readFileSync("/proc/self/cmdline");
  const whole = nameOf(all).split("\0").slice(0, -1);
  return args.length === 0 ? [] : whole.slice(-args.length);
}
