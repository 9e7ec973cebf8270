/** What one source says of one constant. */
interface Told {
  readonly constant: string;
  readonly candidates: readonly number[];
  readonly reason?: string;
}

/** SSL_MAX_MASTER_KEY_LENGTH of BoringSSL's ssl.h. */
const LONGEST_SECRET = 48;

/**
 * What a source says of BoringSSL's constants, without the length that stands behind the secret: from 2024-11 on `secret`
 * is a vector that keeps its own length so (InplaceVector in ssl/internal.h), and there is no member `secret_length`.
 */
export function withoutVectorLength<One extends Told>(told: readonly One[]): readonly One[] {
  const secret = told.find(({ constant }) => constant === "SSL_SESSION_ST_SECRET")?.candidates ?? [];
  return told.map((one) => {
    const isOfVector =
      one.constant === "SSL_SESSION_ST_SECRET_LENGTH" &&
      secret.length === 1 &&
      one.candidates.length === 1 &&
      one.candidates[0] === (secret[0] ?? 0) + LONGEST_SECRET;
    const reason = "the secret is a vector, which keeps its own length";
    return isOfVector ? { ...one, candidates: [], reason } : one;
  });
}
