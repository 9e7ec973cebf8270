import { existsSync } from "node:fs";
import { isCertain, type Verdict } from "../offsets/reconcile.ts";
import type { KernelConstant } from "./fields.ts";

/** A constant that is no offset but says whether offsets may be used: 0 or 1. */
export interface Flag {
  readonly constant: string;
  /** What it speaks of, in the place where an offset names its member. */
  readonly member: string;
  /** The offset it is published behind. */
  readonly after: KernelConstant;
  readonly verdict: (offsets: ReadonlyMap<string, Verdict>, asked: Asked) => Verdict;
}

/** Which sockets the reader wants to look at. */
export interface Asked {
  readonly tcpV6: boolean;
  readonly udpV6: boolean;
}

/** There unless the kernel has no IPv6 or was booted with ipv6.disable=1. */
const IPV6_INTERFACES = "/proc/self/net/if_inet6";

/** Every flag, by what it is published behind. */
export const kernelFlags: readonly Flag[] = [
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
  enabled("tcpv6_enabled", "TCP over IPv6", ({ tcpV6 }) => tcpV6),
  enabled("udpv6_enabled", "UDP over IPv6", ({ udpV6 }) => udpV6),
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

/** 1 when it was asked for and this host has IPv6. */
function enabled(constant: string, member: string, isAsked: (asked: Asked) => boolean): Flag {
  return {
    constant,
    member,
    after: "offset_ct_ino",
    verdict: (_, asked) => {
      const value = isAsked(asked) && existsSync(IPV6_INTERFACES) ? 1 : 0;
      return { value, member, status: "single", evidence: {} };
    },
  };
}
