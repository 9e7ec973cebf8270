import { expect, test } from "bun:test";
import { lstatSync, mkdtempSync, readFileSync, readlinkSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { type CpioEntry, cpioArchive, parentFolders } from "../../lab/cpio.ts";

const utf8 = new TextEncoder();
const ENTRIES: readonly CpioEntry[] = [
  { kind: "folder", path: "usr", mode: 0o755 },
  { kind: "folder", path: "usr/bin", mode: 0o750 },
  { kind: "file", path: "usr/bin/odd-sized", content: utf8.encode("12345"), mode: 0o755 },
  { kind: "file", path: "usr/bin/bytes", content: Uint8Array.from([0, 255, 10, 13]), mode: 0o600 },
  { kind: "file", path: "usr/empty", content: new Uint8Array(0), mode: 0o644 },
  { kind: "symlink", path: "bin", target: "usr/bin" },
];

test("the cpio tool unpacks what was written", () => {
  const folder = mkdtempSync(join(tmpdir(), "cpio-"));
  try {
    const run = Bun.spawnSync(["cpio", "--extract", "--quiet", "--no-absolute-filenames"], {
      cwd: folder,
      stdin: cpioArchive(ENTRIES),
    });
    expect(run.stderr.toString()).toBe("");
    expect(run.exitCode).toBe(0);
    const mode = (path: string) => lstatSync(join(folder, path)).mode & 0o7777;
    expect(mode("usr/bin")).toBe(0o750);
    expect(mode("usr/bin/odd-sized")).toBe(0o755);
    expect(mode("usr/bin/bytes")).toBe(0o600);
    expect(readFileSync(join(folder, "usr/bin/odd-sized"), "utf8")).toBe("12345");
    expect([...readFileSync(join(folder, "usr/bin/bytes"))]).toEqual([0, 255, 10, 13]);
    expect(readFileSync(join(folder, "usr/empty")).length).toBe(0);
    expect(readlinkSync(join(folder, "bin"))).toBe("usr/bin");
  } finally {
    rmSync(folder, { recursive: true });
  }
});

test("the same entries give the same bytes", () => {
  expect(cpioArchive(ENTRIES)).toEqual(cpioArchive(ENTRIES));
});

test("folders stand before what they hold", () => {
  expect(parentFolders(["usr/lib/x/libc.so", "usr/bin/sh", "init"])).toEqual([
    "usr",
    "usr/bin",
    "usr/lib",
    "usr/lib/x",
  ]);
});
