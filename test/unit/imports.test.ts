/** The floors of the house: who may import whom (docs/architecture.md). Types do not count: they are gone when it runs. */
import { expect, test } from "bun:test";
import { readFileSync } from "node:fs";
import { dirname, join, relative, resolve } from "node:path";

const root = join(import.meta.dir, "../..");
const files = [...new Bun.Glob("{src,ffi}/**/*.ts").scanSync(root)].sort();
const transpiler = new Bun.Transpiler({ loader: "ts" });

interface Import {
  readonly file: string;
  /** When it is asked for, not when the file is loaded. */
  readonly isLater: boolean;
}

const imports: ReadonlyMap<string, readonly Import[]> = new Map(
  files.map((file) => [
    file,
    transpiler
      .scanImports(readFileSync(join(root, file), "utf8"))
      .filter(({ path }) => path.startsWith("."))
      .map(({ path, kind }) => ({
        file: relative(root, resolve(root, dirname(file), path)),
        isLater: kind === "dynamic-import",
      })),
  ]),
);
const importsOf = (file: string): readonly Import[] => imports.get(file) ?? [];

test("no file is loaded in a circle", () => {
  const circles: string[] = [];
  const done = new Set<string>();
  const visit = (file: string, way: readonly string[]): void => {
    const at = way.indexOf(file);
    if (at >= 0) circles.push([...way.slice(at), file].join(" > "));
    if (at >= 0 || done.has(file)) return;
    for (const each of importsOf(file)) if (!each.isLater) visit(each.file, [...way, file]);
    done.add(file);
  };
  for (const file of files) visit(file, []);
  expect([files.length > 200, circles]).toEqual([true, []]);
});

test.each([
  [
    "src/offsets/",
    ["ffi/", "src/kernel/", "src/tls/", "src/output/", "src/host/", "src/commands/", "src/verify/"],
  ],
  ["src/output/", ["ffi/", "src/commands/", "src/host/", "src/verify/"]],
  ["src/elf/", ["src/kernel/", "src/tls/", "src/output/", "src/commands/", "src/verify/"]],
  ["src/btf/", ["src/kernel/", "src/tls/", "src/output/", "src/commands/", "src/verify/"]],
  ["src/kernel/", ["src/tls/", "src/verify/", "src/commands/"]],
  ["src/tls/", ["src/kernel/", "src/verify/", "src/commands/"]],
  ["src/verify/", ["src/commands/"]],
  ["src/image/", ["src/commands/", "src/verify/"]],
  ["src/fleet/", ["src/commands/", "src/verify/"]],
  ["ffi/", ["src/kernel/", "src/tls/", "src/output/", "src/commands/", "src/verify/", "src/host/"]],
])("no arrow runs up from %s", (floor, above) => {
  const up = files
    .filter((file) => file.startsWith(floor))
    .flatMap((file) =>
      importsOf(file).flatMap((each) =>
        above.some((folder) => each.file.startsWith(folder)) ? [`${file} > ${each.file}`] : [],
      ),
    );
  expect(up).toEqual([]);
});
