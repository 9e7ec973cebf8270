import { TlsCallError } from "../../../ffi/calls.ts";

/**
 * Runs a step.
 * @returns why the library could not do all of it, as for want of a function; null where it did.
 * @throws what is no TlsCallError
 */
export function whyNot(step: () => unknown): string | null {
  try {
    step();
    return null;
  } catch (error) {
    if (error instanceof TlsCallError) return error.message;
    throw error;
  }
}

/**
 * Asks the library now, and gives a function that returns the answer later. Where the library could not answer, that function throws its
 * TlsCallError, not this one.
 */
export function asked<Answer>(ask: () => Answer): () => Answer {
  try {
    const answer = ask();
    return () => answer;
  } catch (error) {
    if (!(error instanceof TlsCallError)) throw error;
    return () => {
      throw error;
    };
  }
}

/**
 * The steps that were tried with a library. Where one fails, its constants are not known, and the reason names the function that is
 * missing.
 */
export class Attempts {
  readonly #reasons = new Map<string, string>();

  /** Does a step as far as the library can. @param constants what the step is for */
  try(constants: readonly string[], step: () => unknown): void {
    const reason = whyNot(step);
    if (reason !== null) for (const constant of constants) this.#reasons.set(constant, reason);
  }

  /** Findings in which a constant that nothing is known of has the reason why. */
  explain<Finding extends { readonly constant: string; readonly candidates: readonly number[] }>(
    findings: readonly Finding[],
  ): readonly (Finding & { readonly reason?: string })[] {
    return findings.map((finding) => {
      const reason = this.#reasons.get(finding.constant) ?? this.#reasons.get(everything);
      return finding.candidates.length > 0 || reason === undefined ? finding : { ...finding, reason };
    });
  }
}

/** Stands for all constants, where a step is for all of them. */
export const everything = "*";
