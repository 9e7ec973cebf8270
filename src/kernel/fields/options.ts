/** The kinds of sockets that a guess makes. */
export interface Families {
  readonly tcpv4: boolean;
  readonly tcpv6: boolean;
  readonly udpv4: boolean;
  readonly udpv6: boolean;
}

/** waitUntilStable: the pause between the two readings of a pair, in microseconds, and how many pairs at most. */
export interface Stability {
  readonly window: number;
  readonly attempts: number;
}

/** What a guess may do, and how hard it tries. */
export interface GuessOptions {
  readonly families: Families;
  readonly stability: Stability;
  /** How often a failed attempt is repeated from the beginning. */
  readonly retries: number;
  /** Stepwise alone: candidates of sock_common and net lie below so many bytes. */
  readonly threshold: number;
}
