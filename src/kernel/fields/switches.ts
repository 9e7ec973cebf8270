import { isCertain, type Verdict } from "../../offsets/truth.ts";
import type { KernelConstant } from "./fields.ts";
import type { Families } from "./options.ts";

/** A constant that is no offset but says whether offsets may be used: 0 or 1. */
export interface Flag {
  readonly constant: string;
  /** What the flag is about, told where an offset names its member. */
  readonly member: string;
  /** The offset it is published behind. */
  readonly after: KernelConstant;
  readonly verdict: (offsets: ReadonlyMap<string, Verdict>, families: Families) => Verdict;
}

/** Every flag, by what it is published behind. */
export const kernelSwitches: readonly Flag[] = [
  allOf("fl4_offsets", "flowi4", [
    "offset_saddr_fl4",
    "offset_daddr_fl4",
    "offset_sport_fl4",
    "offset_dport_fl4",
  ]),
  allOf("fl6_offsets", "flowi6", [
    "offset_saddr_fl6",
    "offset_daddr_fl6",
    "offset_sport_fl6",
    "offset_dport_fl6",
  ]),
  enabled("tcpv6_enabled", "TCP over IPv6", ({ tcpv6 }) => tcpv6),
  enabled("udpv6_enabled", "UDP over IPv6", ({ udpv6 }) => udpv6),
];

/** 1 when all of some offsets are certain. */
function allOf(
  constant: string,
  member: string,
  parts: readonly [KernelConstant, ...KernelConstant[]],
): Flag {
  return {
    constant,
    member,
    after: parts.at(-1) ?? parts[0],
    verdict: (offsets) => {
      const verdicts = parts.map((part) => [part, offsets.get(part)] as const);
      const missing = verdicts.find(([, verdict]) => verdict === undefined || !isCertain(verdict));
      if (missing !== undefined) {
        return {
          value: null,
          member,
          status: "unresolved",
          evidence: {},
          reason: `${missing[0]} is not certain`,
        };
      }
      const isConfirmed = verdicts.every(([, verdict]) => verdict?.status === "confirmed");
      return { value: 1, member, status: isConfirmed ? "confirmed" : "single", evidence: {} };
    },
  };
}

/** 1 when it was asked for and is possible. */
function enabled(constant: string, member: string, isAsked: (families: Families) => boolean): Flag {
  return {
    constant,
    member,
    after: "offset_ct_ino",
    verdict: (_, families) => {
      const value = isAsked(families) ? 1 : 0;
      return { value, member, status: "single", evidence: {} };
    },
  };
}
