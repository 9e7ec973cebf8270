/** Where offsets can be learned. `guess` and `btf` speak of the kernel, the rest of a TLS library. */
export const sources = ["guess", "btf", "probe", "code", "table"] as const;
export type Source = (typeof sources)[number];

/** How a layout table was chosen for a version: only `exact` was measured on that very version. */
export const tableMatches = ["exact", "nearest", "default"] as const;
export type TableMatch = (typeof tableMatches)[number];

/** What one source says of one constant. */
export interface Evidence {
  readonly source: Source;
  /** Published name, e.g. `offset_daddr` or `SSL_ST_RBIO`. */
  readonly constant: string;
  /** Byte offsets from the start of the type, ascending. One: solved. Several: not told apart. None: see `reason`. */
  readonly candidates: readonly number[];
  /** Only for the `table` source. */
  readonly match?: TableMatch;
  /** Why this is not exactly one candidate, in words for a person. */
  readonly reason?: string;
}

/** Why a source that was not chosen says nothing. */
export const unchosen = "not among the sources that may speak";
