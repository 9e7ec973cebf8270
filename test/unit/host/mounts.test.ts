import { expect, test } from "bun:test";
import { readFileSync } from "node:fs";
import { parseMounts } from "../../../src/host/mounts.ts";

test("mounts are read as findmnt reads them", () => {
  const { stdout } = Bun.spawnSync(["findmnt", "--json", "--list", "--output", "ID,TARGET,FSTYPE,MAJ:MIN"]);
  const expected = JSON.parse(stdout.toString()).filesystems.map(
    (each: { id: number; target: string; fstype: string; "maj:min": string }) => {
      const numbers = each["maj:min"].trim().split(":");
      const device = numbers.map((one) => Number(one).toString(16).padStart(2, "0")).join(":");
      return { id: String(each.id), device, point: each.target, type: each.fstype };
    },
  );
  const mounts = parseMounts(readFileSync("/proc/self/mountinfo", "latin1"));
  expect(mounts.map(({ user: _, ...rest }) => rest)).toEqual(expected);
});

test("names of any bytes are unescaped, other lines passed over", () => {
  const text = String.raw`36 35 98:0 /mnt1 /a\040b\134\012c rw,noatime master:1 shared:7 - fuse.x - rw
nonsense
37 35 0:300 / /d rw - nfs4 host:/x rw
38 35 0:301 / /e rw - fuse.y x,user_id=0,\040user_id=0 rw,user_id=1000,group_id=5
39 35 0:302 / /f rw - fuse  rw,user_id=0,allow_other
`;
  expect(parseMounts(text)).toEqual([
    { id: "36", device: "62:00", point: "/a b\\\nc", type: "fuse.x", user: null },
    { id: "37", device: "00:12c", point: "/d", type: "nfs4", user: null },
    { id: "38", device: "00:12d", point: "/e", type: "fuse.y", user: 1000 },
    { id: "39", device: "00:12e", point: "/f", type: "fuse", user: 0 },
  ]);
});
