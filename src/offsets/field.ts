/** A constant and the struct member whose byte offset it is. */
export interface Field {
  /** Published name, e.g. `offset_daddr`. */
  readonly constant: string;
  /** `type.member`, e.g. `sock_common.skc_daddr`. */
  readonly member: string;
}

/** How a member's value lies in memory. Widths and alignment are in bytes. */
export interface Shape {
  readonly width: number;
  /** Natural alignment of the member in its struct; an unaligned match is never a candidate. */
  readonly align: 1 | 2 | 4 | 8;
}
