import { afterEach, beforeEach, expect, test } from "bun:test";
import { chmodSync, mkdtempSync, readdirSync, rmSync, symlinkSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { CachedFolder } from "../../../assets/build/cache.ts";

const before = process.env.XDG_CACHE_HOME;
let home = "";

beforeEach(() => {
  home = mkdtempSync(join(tmpdir(), "cache-"));
  process.env.XDG_CACHE_HOME = home;
});
afterEach(() => {
  rmSync(home, { recursive: true });
  if (before === undefined) delete process.env.XDG_CACHE_HOME;
  else process.env.XDG_CACHE_HOME = before;
});

async function fill(folder: string): Promise<void> {
  await Bun.write(join(folder, "lib/a file"), "content");
  chmodSync(join(folder, "lib/a file"), 0o750);
  symlinkSync("a file", join(folder, "lib/link"));
}

test("a folder is filled once, and its files read back", async () => {
  let fills = 0;
  const counted = (folder: string) => {
    fills++;
    return fill(folder);
  };
  await CachedFolder.open("packages/x", counted);
  const cached = await CachedFolder.open("packages/x", counted);
  expect(fills).toBe(1);
  expect(cached.folder).toBe(join(home, "offsetof/packages/x"));
  expect(new TextDecoder().decode(await cached.read("lib/a file"))).toBe("content");
  expect(await cached.entries("lib")).toEqual([
    { path: "lib/a file", mode: 0o750 },
    { path: "lib/link", target: "a file" },
  ]);
});

test("a changed file is refused", async () => {
  const cached = await CachedFolder.open("x", fill);
  await Bun.write(join(cached.folder, "lib/a file"), "other");
  await expect(cached.read("lib/a file")).rejects.toThrow("delete");
});

test("a folder that could not be filled is not there, and the next try fills it", async () => {
  const failing = async () => {
    throw new Error("no network");
  };
  await expect(CachedFolder.open("x", failing)).rejects.toThrow("no network");
  expect(readdirSync(join(home, "offsetof"))).toEqual([]);
  expect((await CachedFolder.open("x", fill)).folder).toBe(join(home, "offsetof/x"));
});

test("two at once both get the folder, and nothing else is left", async () => {
  const both = await Promise.all([CachedFolder.open("x", fill), CachedFolder.open("x", fill)]);
  for (const cached of both) expect((await cached.read("lib/a file")).length).toBe(7);
  expect(readdirSync(join(home, "offsetof"))).toEqual(["x"]);
});
