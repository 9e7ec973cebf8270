import { readFileSync } from "node:fs";
import * as v from "valibot";
import { askArgument } from "../self/child-arguments.ts";
import { isOthers, pidsOf } from "./others.ts";

/** What an asker is asked: mount points, each with the device of its file system as of /proc/PID/maps. */
export const questionsSchema = v.array(v.tuple([v.string(), v.string()]));
export type Questions = v.InferOutput<typeof questionsSchema>;

/** Of proc_pid_status(5): it sleeps and no signal wakes it, and SIGKILL (bit 8) has come for it. */
const isSleeping = /^State:\s+D/m;
const isKilled = /^(?:SigPnd|ShdPnd):\s+[\da-f]*[13579bdf][\da-f]{2}$/m;

/**
 * The devices of the file systems that askers of earlier runs still wait for: they were killed, and cannot end before the server
 * answers (request_wait_answer of fs/fuse/dev.c). To ask such a server again would leave one more process behind.
 *
 * @param proc where procfs is mounted
 */
export function awaitedDevices(proc: string): ReadonlySet<string> {
  return new Set(pidsOf(proc).flatMap((pid) => awaitedBy(`${proc}/${pid}`) ?? []));
}

/** @param folder of a process in procfs @returns null where it is no such asker, of root's or this user's */
function awaitedBy(folder: string): string | null {
  try {
    // The command line comes last: to read it may wait for a process that sleeps in a page fault.
    const status = readFileSync(`${folder}/status`, "latin1");
    if (!isSleeping.test(status) || !isKilled.test(status) || isOthers(folder)) return null;
    const words = readFileSync(`${folder}/cmdline`, "latin1").split("\0");
    const at = words.indexOf(askArgument);
    if (at < 0) return null;
    const questions = v.parse(questionsSchema, JSON.parse(readFileSync(`${folder}/fd/0`, "utf8")));
    const answers = readFileSync(`${folder}/fd/1`);
    const [, device] =
      questions.find((_, index) => index >= Number(words[at + 1]) && answers[index] !== 1) ?? [];
    return device ?? null;
  } catch {
    return null; // it ended, or is not ours to see
  }
}
