import { expect, test } from "bun:test";
import { capabilitiesOf, isInitialUserNamespace, parseStatus } from "../../../src/host/capabilities.ts";

/** What libcap's own tool says of a mask: a reader that is not ours. */
const decode = (mask: bigint): string[] => {
  const { stdout } = Bun.spawnSync(["capsh", `--decode=${mask.toString(16)}`]);
  const names = stdout.toString().trim().split("=")[1] ?? "";
  return names === "" ? [] : names.split(",").map((name) => name.toUpperCase());
};

test("every bit has the name libcap gives it", () => {
  for (let bit = 0n; bit <= 40n; bit++) expect(capabilitiesOf(1n << bit)).toEqual(decode(1n << bit));
});

test("a bit newer than the list keeps its number", () => {
  expect(capabilitiesOf((1n << 60n) | 1n)).toEqual(["CAP_CHOWN", "CAP_60"]);
});

test("the effective capabilities and the seccomp filter are read of /proc/self/status", () => {
  const text =
    "Name:\tcat\nUid:\t0\t0\t0\t0\nCapInh:\t0000000000000000\nCapPrm:\t000001ffffffffff\nCapEff:\t000000c000000000\nSeccomp:\t2\nSeccomp_filters:\t1\n";
  expect(parseStatus(text)).toEqual({ effective: ["CAP_PERFMON", "CAP_BPF"], seccompFilter: true });
});

test("a status without capability lines gives none", () => {
  expect(parseStatus("Name:\tcat\nCapEff:\tnonsense\n")).toEqual({ effective: [], seccompFilter: false });
});

test("only the full identity map is the initial user namespace", () => {
  expect(isInitialUserNamespace("         0          0 4294967295")).toBe(true);
  expect(isInitialUserNamespace("         0       1000          1")).toBe(false);
  expect(isInitialUserNamespace("         0     100000      65536")).toBe(false);
});
