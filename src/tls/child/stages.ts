import { readFileSync, readlinkSync } from "node:fs";
import * as v from "valibot";
import {
  CLONE_NEWPID,
  clearAmbientCapabilities,
  clearCapabilities,
  clearInheritableCapabilities,
  runProgram,
  setNoNewPrivileges,
  setUndumpable,
  unshare,
} from "../../../ffi/confinement.ts";
import { duplicate, replaceDescriptor, writeAll } from "../../../ffi/descriptors.ts";
import { exitNow } from "../../../ffi/libc.ts";
import { usage } from "../../output/failure.ts";
import { isEmbedded } from "../../self/assets.ts";
import { childArgument, muslVariable } from "../../self/child-arguments.ts";
import { messageOf } from "../../self/thrown.ts";
import { confine, dieWith, inheritBelow, leaveNamespaces, mayLeaveNamespaces } from "./confine.ts";
import { type ChildMessage, type Jobs, jobNames } from "./outcome.ts";

const [STDIN, STDOUT, STDERR] = [0, 1, 2];
const firstFile = 3;

const number = v.pipe(v.string(), v.regex(/^\d{1,9}$/));
const argumentsSchema = v.strictTuple([
  v.picklist(["isolate", "work"]),
  number,
  v.pipe(number, v.transform(Number)),
  v.picklist(["kept", "own"]),
  v.pipe(number, v.transform(Number)),
  v.picklist(jobNames),
]);

/**
 * A child's life has two stages, each a process. Namespaces belong to single threads and this runtime has several before
 * its first line runs, so `isolate` leaves the machine's namespaces and starts `work`, all of whose threads are born outside
 * of them, in a pid namespace of its own: with `work`, its first process, all in it ends. The launcher does `isolate` itself
 * (assets/build/launcher/isolate.c); it comes here where there is none.
 *
 * @param args stage, number of the parent in /proc, number of files, whether the user is `kept` or one of its `own`,
 *   milliseconds, job
 * @throws Failure where these are not the arguments that this program gives
 */
export async function runStage(args: readonly string[], jobs: Jobs): Promise<void> {
  const parsed = v.safeParse(argumentsSchema, args);
  if (!parsed.success) {
    const message = `"${childArgument}" is how this program starts a part of itself; it is no command`;
    throw usage(message);
  }
  const [stage, parent, files, user, milliseconds, job] = parsed.output;
  if (stage === "isolate") return isolate(parent, files, user === "kept", args.slice(2));
  const paths = Array.from({ length: files }, (_, index) => `/proc/self/fd/${firstFile + index}`);
  // The answer leaves by a descriptor of its own: what foreign code prints goes nowhere.
  const request: unknown = JSON.parse(readFileSync(STDIN, "utf8"));
  const answer = duplicate(STDOUT);
  for (const fd of [STDIN, STDOUT]) replaceDescriptor(STDERR, fd);
  const send = (message: ChildMessage): void => {
    writeAll(answer, new TextEncoder().encode(`${JSON.stringify(message)}\n`), "the answer");
  };
  try {
    const run = await jobs[job]();
    const refusal = attempt(() => confine(parent, Math.ceil(milliseconds / 1000)));
    if (refusal !== null) send({ refused: refusal });
    else send({ answer: await run(request, paths) });
  } catch (error) {
    send({ failed: messageOf(error) });
  }
  exitNow(0); // no exit handler of what was loaded
}

function isolate(parent: string, files: number, isToStay: boolean, rest: readonly string[]): void {
  dieWith(parent);
  inheritBelow(firstFile + files);
  const isPrivileged = mayLeaveNamespaces();
  if (isPrivileged) leaveNamespaces();
  setNoNewPrivileges();
  clearAmbientCapabilities();
  clearInheritableCapabilities();
  setUndumpable();
  const self = isEmbedded ? ["offsetof"] : process.argv.slice(0, 2);
  const arguments_ = [...self, childArgument, "work", readlinkSync("/proc/self"), ...rest];
  const isOnMusl = process.env.OFFSETOF_LIBC === muslVariable.OFFSETOF_LIBC;
  const environment = isOnMusl ? [`OFFSETOF_LIBC=${muslVariable.OFFSETOF_LIBC}`] : [];
  const status = runProgram("/proc/self/exe", arguments_, environment, () => {
    if (isPrivileged) unshare(CLONE_NEWPID);
    // The next stage stays this user, and starts without what this thread does not have.
    if (isToStay) clearCapabilities();
  });
  exitNow(status);
}

function attempt(act: () => void): string | null {
  try {
    act();
    return null;
  } catch (error) {
    return messageOf(error);
  }
}
