import { expect, test } from "bun:test";
import { readFileSync } from "node:fs";
import { parseMounts } from "../../src/mounts.ts";

test("mounts are read as findmnt reads them", () => {
  const { stdout } = Bun.spawnSync(["findmnt", "--json", "--list", "--output", "ID,TARGET,FSTYPE,MAJ:MIN"]);
  const expected = JSON.parse(stdout.toString()).filesystems.map(
    (each: { id: number; target: string; fstype: string; "maj:min": string }) => {
      const numbers = each["maj:min"].trim().split(":");
      const device = numbers.map((one) => Number(one).toString(16).padStart(2, "0")).join(":");
      return { id: String(each.id), device, point: each.target, type: each.fstype };
    },
  );
  expect(parseMounts(readFileSync("/proc/self/mountinfo", "latin1"))).toEqual(expected);
});

test("names of any bytes are unescaped, other lines passed over", () => {
  const text = String.raw`36 35 98:0 /mnt1 /a\040b\134\012c rw,noatime master:1 shared:7 - fuse.x - rw
nonsense
37 35 0:300 / /d rw - nfs4 host:/x rw
`;
  expect(parseMounts(text)).toEqual([
    { id: "36", device: "62:00", point: "/a b\\\nc", type: "fuse.x" },
    { id: "37", device: "00:12c", point: "/d", type: "nfs4" },
  ]);
});
