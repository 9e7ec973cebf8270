/**
 * Where offsets can be learned. `guess`, `btf` and `dwarf` speak of the kernel, the last of one that does not run here; the
 * rest of a TLS library.
 */
export const sources = ["guess", "btf", "dwarf", "probe", "code", "references", "table"] as const;
export type Source = (typeof sources)[number];

/**
 * How a described layout was chosen: `exact`: measured on that very version; `nearest`: on the nearest older one of its
 * series; `fit`: it is the one known layout that equals everything measured.
 */
export const tableMatches = ["exact", "nearest", "fit"] as const;
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
  /** There is no such member: a table says so of this version, any other source of this very thing. */
  readonly absent?: true;
  /** Only for the `table` source: why this figure is shown but never believed. */
  readonly disputed?: string;
  /** Why this is not exactly one candidate, in words for a person. */
  readonly reason?: string;
}

/** The reason of a source that says nothing because it was not chosen (--source). */
export const unchosen = "not among the sources that may speak";
