import { constants } from "node:os";
import { withRemedy } from "./remedies.ts";

/** enum libbpf_errno of libbpf.h, from 4000 on: what libbpf itself found. */
const libbpfNames = [
  "LIBELF",
  "FORMAT",
  "KVERSION",
  "ENDIAN",
  "INTERNAL",
  "RELOC",
  "LOAD",
  "VERIFY",
  "PROG2BIG",
  "KVER",
  "PROGTYPE",
  "WRNGPID",
  "INVSEQ",
  "NLPARSE",
];

const errnoNames: ReadonlyMap<number, string> = new Map([
  ...Object.entries(constants.errno).map(([name, number]) => [number, name] as const),
  ...libbpfNames.map((name, index) => [4000 + index, `LIBBPF_ERRNO__${name}`] as const),
]);

/**
 * The symbolic name of a positive errno, e.g. `EPERM`, or of one of libbpf's own, e.g. `LIBBPF_ERRNO__FORMAT`; `errno 524`
 * for numbers that neither names.
 */
export const errnoName = (errno: number): string => errnoNames.get(errno) ?? `errno ${errno}`;

/** A system or library call that failed: what was called, the errno it gave, and what to do about it (remedies.ts). */
export class SystemError extends Error {
  override readonly name = "SystemError";

  constructor(
    readonly call: string,
    readonly errno: number,
    /** What the callee itself said of it, which stands in the place of a remedy. */
    said?: string,
  ) {
    const code = errnoName(errno);
    const text = `${call}: ${code}`;
    super(said === undefined ? withRemedy(text, call, code) : `${text}; ${said}`);
  }

  /** The symbolic name, e.g. `EPERM`. */
  get code(): string {
    return errnoName(this.errno);
  }
}

/** A handle that was used after it had been closed: always a defect in the caller. */
export class ClosedError extends Error {
  override readonly name = "ClosedError";

  constructor(what: string) {
    super(`${what} was used after it had been closed`);
  }
}

/** This process may have no executable memory, or too little address space for it: nothing of the system can be called. */
export class NoJitError extends Error {
  override readonly name = "NoJitError";

  constructor() {
    super(
      "this process may not have executable memory (systemd's MemoryDenyWriteExecute, SELinux's deny_execmem), or has too little address space for it (ulimit -v, LimitAS, vm.overcommit_memory=2): allow it, or 1 GB",
    );
  }
}
