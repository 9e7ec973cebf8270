/** An OpenSSL release as its version text names it, e.g. `1.1.1v+quic`, `3.0.10`, `1.0.2zg`, `3.5.0-beta1`. */
export interface Release {
  readonly numbers: readonly [number, number, number];
  /** The 1.x patch letters: none, `a` to `z`, then `za` and on. */
  readonly letters: string;
  /** What a vendor or a pre-release adds, e.g. `+quic`, `-fips`, ` FIPS`, `-beta1`; empty for the plain release. */
  readonly suffix: string;
}

const pattern = /^(\d{1,4})\.(\d{1,4})\.(\d{1,4})([a-z]{0,2})((?:[-+ ].*)?)$/;
const isBefore = (release: Release): boolean => /^-(alpha|beta|pre|rc|dev)/.test(release.suffix);

/** Null where the text is no release of this form. */
export function parseRelease(text: string): Release | null {
  const [, major, minor, patch, letters = "", suffix = ""] = pattern.exec(text) ?? [];
  if (major === undefined) return null;
  return { numbers: [Number(major), Number(minor), Number(patch)], letters, suffix };
}

/**
 * Negative where `a` is older than `b`. Numbers compare as numbers, so 3.2.10 is newer than 3.2.1; a bare 1.1.1 is the
 * oldest 1.1.1; a pre-release is older than its release; any other suffix does not count.
 */
export function compareReleases(a: Release, b: Release): number {
  const numbers = a.numbers
    .map((number, index) => number - (b.numbers[index] ?? 0))
    .find((step) => step !== 0);
  if (numbers !== undefined) return numbers;
  // As text: none, a, …, z, za is the order they were published in.
  if (a.letters !== b.letters) return a.letters < b.letters ? -1 : 1;
  return Number(isBefore(b)) - Number(isBefore(a));
}

/** Releases of one series keep their ABI: `1.1.1` with its letters, from 3.0 on major and minor. */
export const seriesOf = ({ numbers }: Release): string => numbers.slice(0, numbers[0] < 3 ? 3 : 2).join(".");
