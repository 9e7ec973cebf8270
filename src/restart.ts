import { NoJitError } from "../ffi/error.ts";

/** Bytes of address space that the runtime sets aside for compiled code; its own figure is a gigabyte. */
const RESERVATION = { BUN_JSC_jitMemoryReservationSize: `${16 << 20}` };

/**
 * Runs this program again with less address space set aside, where what was thrown says that it found none; 400 MB are
 * enough then. Nothing was printed so far: what prints has called the system before.
 *
 * @returns the exit code, or null where it would not help
 */
export function restartSmaller(thrown: unknown, args: readonly string[]): number | null {
  if (!(thrown instanceof NoJitError) || "BUN_JSC_jitMemoryReservationSize" in process.env) return null;
  const { exitCode, signalCode } = Bun.spawnSync(["/proc/self/exe", ...args], {
    argv0: process.argv0,
    env: { ...process.env, ...RESERVATION },
    stdio: ["inherit", "inherit", "inherit"],
  });
  return signalCode === undefined ? exitCode : null;
}
