import { TlsCallError } from "../../../ffi/calls.ts";

/** Does what the library can. Why it went no further, as for want of a function; null where it did all. */
export function whyNot(step: () => unknown): string | null {
  try {
    step();
    return null;
  } catch (error) {
    if (error instanceof TlsCallError) return error.message;
    throw error;
  }
}

/** Asks the library now. The answer is told when it is wanted; so is that there is none, which throws then. */
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

/** What was tried of a library: a function that is missing, or fails, costs what hangs on it, and the reason names it. */
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

/** In the place of a constant: the step is for all of them. */
export const everything = "*";
