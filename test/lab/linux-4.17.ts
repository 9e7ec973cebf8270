/**
 * bun linux-4.17.ts COMMAND...: runs a command for which bpf(2) has no more commands than in Linux 4.17.
 *
 * Raw tracepoints are its last one; BTF, frozen maps, BPF links and all later ones answer EINVAL, as such a kernel does.
 * A seccomp filter sees only a call's numbers, so helpers, flags and the verifier stay those of the kernel that runs.
 */
import { dlopen, ptr } from "bun:ffi";

const PR_SET_SECCOMP = 22;
const SECCOMP_MODE_FILTER = 2;
const SYS_BPF = process.arch === "arm64" ? 280 : 321;
const BPF_BTF_LOAD = 18; // enum bpf_cmd: the first of Linux 4.18
const EINVAL = 22;

/** struct seccomp_data: where the call's number and its first argument stand. */
const NUMBER = 0;
const ARGUMENT = 16;
const [LOAD, JUMP_EQUAL, JUMP_AT_LEAST, RETURN] = [0x20, 0x15, 0x35, 0x06];
const [ALLOW, ERRNO] = [0x7fff0000, 0x00050000];

/** Classic BPF: [code, how many to skip when true, when false, k]. */
const filter: readonly (readonly [code: number, jt: number, jf: number, k: number])[] = [
  [LOAD, 0, 0, NUMBER],
  [JUMP_EQUAL, 0, 3, SYS_BPF],
  [LOAD, 0, 0, ARGUMENT],
  [JUMP_AT_LEAST, 0, 1, BPF_BTF_LOAD],
  [RETURN, 0, 0, ERRNO | EINVAL],
  [RETURN, 0, 0, ALLOW],
];

const { symbols: c } = dlopen("libc.so.6", {
  prctl: { args: ["i32", "u64", "ptr", "u64", "u64"], returns: "i32" },
  execvp: { args: ["ptr", "ptr"], returns: "i32" },
});

const instructions = new DataView(new ArrayBuffer(8 * filter.length)); // struct sock_filter
for (const [index, [code, jt, jf, k]] of filter.entries()) {
  instructions.setUint16(8 * index, code, true);
  instructions.setUint8(8 * index + 2, jt);
  instructions.setUint8(8 * index + 3, jf);
  instructions.setUint32(8 * index + 4, k, true);
}
const program = new BigUint64Array([BigInt(filter.length), BigInt(ptr(instructions))]); // struct sock_fprog
const words = process.argv.slice(2).map((word) => Buffer.from(`${word}\0`));
const [command] = words;
if (command === undefined) throw new Error("usage: bun linux-4.17.ts COMMAND...");
const list = new BigUint64Array([...words.map((word) => BigInt(ptr(word))), 0n]);

if (c.prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, ptr(program), 0, 0) !== 0)
  throw new Error("seccomp needs CAP_SYS_ADMIN");
c.execvp(ptr(command), ptr(list));
throw new Error(`${process.argv[2]} cannot be run`);
