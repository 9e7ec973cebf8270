/** Something that an input must not be able to do. */
export interface Finding {
  /** `crash`: an error that is none of ours, or the end of the process. */
  readonly kind: "crash" | "hang" | "wrong";
  readonly index: number;
  readonly what: string;
}

/** What came of some inputs. */
export interface Told {
  inputs: number;
  /** Those that were not refused. */
  answered: number;
  /** Of those that no other program was asked about. */
  slowest: { index: number; milliseconds: number };
  findings: Finding[];
}
