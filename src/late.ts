import { readFileSync } from "node:fs";
import * as v from "valibot";
import { exitNow } from "../ffi/libc.ts";
import type { Late, Watch } from "./commands/deadline-state.ts";
import { assembled, type Patch, type RankedPatch } from "./output/partial.ts";

const STDIN = 0;

/** Prints what is ready at the deadline. @returns the exit code */
export async function printed(
  { printing, format, ...watch }: Late & Pick<Watch, "whereabouts">,
  ready: Patch,
): Promise<number> {
  const [{ lateness }, { printPart, tellFailure }] = await Promise.all([
    import("./commands/lateness.ts"),
    import("./commands/part.ts"),
  ]);
  const late = lateness(watch);
  return printing === null ? tellFailure(late, format) : printPart(ready, late, printing);
}

/** Paper is endlessly wide (output/columns.ts), of which JSON makes null. */
const withInfinity = (key: string, value: unknown): unknown =>
  key === "width" && value === null ? Number.POSITIVE_INFINITY : value;

const anything = v.record(v.string(), v.unknown());
const lateSchema = v.strictObject({
  milliseconds: v.number(),
  end: v.number(),
  format: v.string(),
  printing: v.nullable(anything),
});
const partSchema = v.strictObject({ patch: anything, rank: v.number() });

/**
 * Prints what another process of this program knew at its deadline, from standard input (ffi/launcher-thread.ts): a length of 64 bits, so
 * many bytes of what it was at, and lines of JSON. Ends this process with what that one is to end with.
 * @throws Error where that is not what was written
 */
export async function answerLate(): Promise<void> {
  const told = readFileSync(STDIN);
  const length = Number(told.readBigUInt64LE(0));
  const whereabouts = new SharedArrayBuffer(length);
  new Uint8Array(whereabouts).set(told.subarray(8, 8 + length));
  const [first = "", ...lines] = told.toString("utf8", 8 + length).split("\n");
  const late = v.parse(lateSchema, JSON.parse(first, withInfinity)) as unknown as Late;
  const parts = lines
    .filter((line) => line !== "")
    .map((line): RankedPatch => v.parse(partSchema, JSON.parse(line)));
  exitNow(await printed({ ...late, whereabouts }, assembled(parts)));
}
