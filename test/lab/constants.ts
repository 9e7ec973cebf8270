import { kernelFields } from "../../src/kernel/fields/fields.ts";
import { kernelSwitches } from "../../src/kernel/fields/switches.ts";
import { truthOf } from "./truth.ts";

/** What the stepwise strategy guesses. */
export const CLASSIC = [
  "offset_family",
  "offset_saddr",
  "offset_daddr",
  "offset_dport",
  "offset_sport",
  "offset_daddr_ipv6",
  "offset_netns",
  "offset_ino",
  "offset_rtt",
  "offset_rtt_var",
  "offset_num",
  "offset_state",
  "offset_saddr_ipv6",
];

export const FLOWI6 = ["offset_saddr_fl6", "offset_daddr_fl6", "offset_sport_fl6", "offset_dport_fl6"];
export const IPV6 = ["offset_daddr_ipv6", "offset_saddr_ipv6", ...FLOWI6];
export const NAMESPACE = ["offset_netns", "offset_ino", "offset_ct_ino"];
export const CONNTRACK = ["offset_ct_origin", "offset_ct_reply", "offset_ct_netns", "offset_ct_status"];
export const ALL = kernelFields.map(({ constant }) => constant as string);

/** What is not known, by what the reason of it must say. */
export type Unknown = readonly (readonly [because: RegExp, constants: readonly string[]])[];

/** What a guess where no private network namespace can be made does not know. */
export const withoutNamespaces = (because: RegExp): Unknown => [
  [because, [...NAMESPACE, ...IPV6, "offset_family"]],
];

/** Every constant of a kernel that lacks nothing, its offsets as the readers of truth.ts tell them from its BTF. */
export async function trueConstants(btfFile: string): Promise<Record<string, number | null>> {
  const truth = await truthOf(
    btfFile,
    kernelFields.map(({ member }) => member),
  );
  return Object.fromEntries([
    ...kernelFields.map(({ constant, member }) => [constant, truth.get(member) ?? null]),
    ...kernelSwitches.map(({ constant }) => [constant, 1]),
  ]);
}
