import { expect, test } from "bun:test";
import { readFileSync } from "node:fs";
import { join } from "node:path";

const root = join(import.meta.dir, "../../..");
const pages = ["docs/**/*.md", "README.md", "CONTRIBUTING.md"].flatMap((pages) => [
  ...new Bun.Glob(pages).scanSync(root),
]);
const files = ["src", "ffi", "test", "assets", "docs", "bpf"].flatMap((folder) => [
  ...new Bun.Glob(`${folder}/**/*.{ts,c,h}`).scanSync(root),
]);
/** A file's name in code style: its end is enough. */
const named = /`([\w./-]+\.(?:ts|bpf\.c|h))`/g;

test.each(pages)("%s names files that are there", (page) => {
  const names = [...readFileSync(join(root, page), "utf8").matchAll(named)].map(([, name = ""]) => name);
  const gone = names.filter(
    (name) => !files.concat("build.ts").some((file) => `/${file}`.endsWith(`/${name}`)),
  );
  expect(gone.filter((name) => !name.startsWith("include/"))).toEqual([]);
});
