/**
 * bun addresses.program.ts: has the C library called with what only an address leads to, while the garbage collector works
 * as hard as it can and memory that became free is written over. Prints what came of it.
 */
import { CString } from "bun:ffi";
import { readFileSync, readlinkSync } from "node:fs";
import { runProgram } from "../../../ffi/confinement.ts";
import { memoryFile } from "../../../ffi/descriptors.ts";
import { withAddresses } from "../../../ffi/libc.ts";
import { setThreadName, TASK_COMM_LEN } from "../../../ffi/thread.ts";

/** Takes what is free, in the sizes that names have, and writes over it. */
function scribble(): void {
  Bun.gc(true);
  for (let left = 2000; left > 0; left--) new Uint8Array(8 + (left % 64)).fill(0x58);
}

const wrong: string[] = [];
for (let round = 0; round < 40; round++) {
  const name = `name-${round}`;
  // What a call does before its addresses are read.
  const told = withAddresses([new TextEncoder().encode(`${name}\0`)], (at) => {
    scribble();
    return String(new CString(at));
  });
  if (told !== name) wrong.push(`${JSON.stringify(told)} instead of ${name}`);
  using file = memoryFile(name, Buffer.from(name));
  if (!readlinkSync(`/proc/self/fd/${file.fd}`).startsWith(`/memfd:${name} `)) wrong.push(`no file ${name}`);
  const thread = Buffer.alloc(TASK_COMM_LEN);
  thread.write(name);
  setThreadName(thread);
  if (readFileSync("/proc/thread-self/comm", "latin1").trim() !== name) wrong.push(`no thread ${name}`);
  if (runProgram("/bin/sh", ["sh", "-c", `exit ${round}`]) !== round) wrong.push(`not exit ${round}`);
}
console.log(JSON.stringify(wrong));
