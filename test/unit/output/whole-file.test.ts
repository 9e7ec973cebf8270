import { afterEach, beforeEach, expect, test } from "bun:test";
import {
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  rmSync,
  symlinkSync,
  writeFileSync,
} from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { writeFileWhole } from "../../../src/output/whole-file.ts";

let folder: string;
beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), "offsetof-file-"));
});
afterEach(() => rmSync(folder, { recursive: true }));
const at = (name: string): string => join(folder, name);
const bytes = Uint8Array.of(1, 2, 3);

test("a file is written whole: a new one, one that is replaced, one at the end of a link", () => {
  writeFileSync(at("old"), "old");
  symlinkSync("old", at("link"));
  for (const name of ["new", "link"]) writeFileWhole(at(name), bytes);
  expect(readdirSync(folder).sort()).toEqual(["link", "new", "old"]);
  for (const name of ["new", "old", "link"]) expect([...readFileSync(at(name))]).toEqual([1, 2, 3]);
});

test.each([
  ["folder", "is no regular file; for standard output use -o -"],
  ["no/such/file", "cannot be written: ENOENT"],
  ["dangling", "cannot be written: ENOENT"],
])("%s is refused, and nothing is left", (name, message) => {
  mkdirSync(at("folder"));
  symlinkSync("nowhere", at("dangling"));
  expect(() => writeFileWhole(at(name), bytes)).toThrow(`${at(name)} ${message}`);
  expect(readdirSync(folder).sort()).toEqual(["dangling", "folder"]);
});

test("a device is refused, not replaced", () => {
  expect(() => writeFileWhole("/dev/null", bytes)).toThrow("/dev/null is no regular file");
});

test("a full file system leaves nothing behind", () => {
  const script = `
    mount -t tmpfs -o size=4k tmpfs ${folder}
    ${process.execPath} -e 'import { writeFileWhole } from "${join(import.meta.dir, "../../../src/output/whole-file.ts")}";
      try { writeFileWhole("${at("f")}", new Uint8Array(100000)); } catch (error) { console.log(error.message); }'
    ls -A ${folder}`;
  const { stdout } = Bun.spawnSync(["unshare", "--mount", "sh", "-ec", script]);
  expect(stdout.toString()).toBe(`${at("f")} cannot be written: ENOSPC\n`);
});
