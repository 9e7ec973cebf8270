import type { Failure } from "../output/failure.ts";

/** Exit codes, the same for every command. */
export const exitCodes = { known: 0, failed: 1, usage: 2, incomplete: 3, impossible: 4 } as const;
export type ExitCode = (typeof exitCodes)[keyof typeof exitCodes];

/** What each means. */
export const exitMeanings: Readonly<Record<ExitCode, string>> = {
  0: "All that was asked is known.",
  1: "Failed; where JSON was asked for, the error is one JSON object on standard error.",
  2: "Wrong usage.",
  3: "Incomplete: something is null, assumed or in conflict, or something was not reached in time, or a part needed a privilege that was missing.",
  4: "Not possible on this host.",
};

/** The exit code of a failure. */
export const exitOf = ({ kind }: Failure): ExitCode => exitCodes[kind];
