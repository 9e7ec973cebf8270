import { kernelFields } from "../../src/kernel/fields.ts";
import { kernelFlags } from "../../src/kernel/flags.ts";
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

/** Every constant of a kernel that lacks nothing, its offsets as the readers of truth.ts tell them from its BTF. */
export async function trueConstants(btfFile: string): Promise<Record<string, number | null>> {
  const truth = await truthOf(
    btfFile,
    kernelFields.map(({ member }) => member),
  );
  return Object.fromEntries([
    ...kernelFields.map(({ constant, member }) => [constant, truth.get(member) ?? null]),
    ...kernelFlags.map(({ constant }) => [constant, 1]),
  ]);
}
