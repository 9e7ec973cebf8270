import type { Evidence } from "../../offsets/evidence.ts";

/** SSL_MAX_MASTER_KEY_LENGTH of BoringSSL's ssl.h. */
const LONGEST_SECRET = 48;

/** Whether a length lies where a vector keeps it, whose bytes begin at `secret`. Bytes from the session's start. */
export const isVectorLength = (length: number, secret: number): boolean => length === secret + LONGEST_SECRET;

/**
 * What a source says of BoringSSL's constants; the length that stands right behind the secret is none: from 2024-11 on `secret`
 * is a vector that keeps its own length so (InplaceVector in ssl/internal.h), and there is no member `secret_length`.
 */
export function withoutVectorLength<
  One extends Pick<Evidence, "constant" | "candidates" | "absent" | "reason">,
>(told: readonly One[]): readonly One[] {
  const secret = told.find(({ constant }) => constant === "SSL_SESSION_ST_SECRET")?.candidates ?? [];
  return told.map((one) => {
    const isOfVector =
      one.constant === "SSL_SESSION_ST_SECRET_LENGTH" &&
      secret.length === 1 &&
      one.candidates.length === 1 &&
      isVectorLength(one.candidates[0] ?? 0, secret[0] ?? 0);
    const reason = "the secret is a vector, which keeps its own length";
    return isOfVector ? { ...one, candidates: [], absent: true, reason } : one;
  });
}
