/**
 * bun refused.program.ts NUMBER ERRNO PROGRAM ARGUMENTS...: runs a program for which a seccomp filter answers the system call
 * of this number with this errno, as container runtimes' filters do.
 */
import { runProgram, setNoNewPrivileges, setSystemCallFilter } from "../../../ffi/confinement.ts";
import { exitNow } from "../../../ffi/libc.ts";

/** struct seccomp_data: where the call's number stands. */
const NUMBER = 0;
const [LOAD, JUMP_EQUAL, RETURN] = [0x20, 0x15, 0x06];
const [ALLOW, ERRNO] = [0x7fff0000, 0x00050000];

const [number, errno, program = "", ...args] = process.argv.slice(2);
/** Classic BPF: code, how many to skip when true, when false, k. */
const filter: readonly (readonly [code: number, jt: number, jf: number, k: number])[] = [
  [LOAD, 0, 0, NUMBER],
  [JUMP_EQUAL, 0, 1, Number(number)],
  [RETURN, 0, 0, ERRNO | Number(errno)],
  [RETURN, 0, 0, ALLOW],
];
const instructions = new DataView(new ArrayBuffer(8 * filter.length)); // struct sock_filter
for (const [index, [code, jt, jf, k]] of filter.entries()) {
  instructions.setUint16(8 * index, code, true);
  instructions.setUint8(8 * index + 2, jt);
  instructions.setUint8(8 * index + 3, jf);
  instructions.setUint32(8 * index + 4, k, true);
}
setNoNewPrivileges();
setSystemCallFilter(new Uint8Array(instructions.buffer));
exitNow(runProgram(program, [program, ...args]));
