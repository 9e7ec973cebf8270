import { SystemError } from "../../../ffi/error.ts";
import { isAtLeast } from "../../host/identity.ts";

/** The objects of each program, best first; the last one needs nothing that any kernel lacks. */
const variants = [
  { name: "current", suffix: "", since: [5, 5] }, // bpf_probe_read_kernel, BPF_F_MMAPABLE
  { name: "old", suffix: "_old", since: [0, 0] },
] as const;

/** Which of these variants may be loaded; `auto`: the best that the kernel takes. */
export type Bytecode = "auto" | (typeof variants)[number]["name"];

/**
 * The objects to try, one after the other, as file names without their ending.
 *
 * A version is what a vendor calls its kernel, which may have later features; so what is picked by it may be less than
 * the kernel could do, but works. Where a kernel has less than its version says, the next object is tried.
 *
 * @param program e.g. `socket_guess`
 */
export function objectsOf(
  program: string,
  choice: Bytecode,
  version: readonly [number, number, number],
): string[] {
  return variants
    .filter(({ name, since: [major, minor] }) =>
      choice === "auto" ? isAtLeast(version, major, minor) : name === choice,
    )
    .map(({ suffix }) => `${program}${suffix}`);
}

/**
 * Whether the kernel refused an object as one that it does not understand: EINVAL is its answer to a helper, a map flag
 * or an instruction that it does not know.
 */
export function isUnknownToKernel(error: unknown): boolean {
  const cause = error instanceof Error && error.cause instanceof SystemError ? error.cause : error;
  return cause instanceof SystemError && cause.code === "EINVAL" && !isForbiddenToRead(cause);
}

/**
 * Whether the kernel refused an object because no program may read its memory: the verifier then knows no helper that
 * does, which every kernel of eBPF has otherwise. Its only word on lockdown where securityfs is not mounted to tell.
 */
export const isForbiddenToRead = ({ message }: Error): boolean =>
  /(unknown func|cannot use helper) bpf_probe_read#/.test(message);
