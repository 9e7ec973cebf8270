/** The floors of the house, as docs/architecture.md has them: who may import whom, and what files are called. Types count too. */
import { expect, test } from "bun:test";
import { readFileSync } from "node:fs";
import { basename, dirname, join, relative, resolve } from "node:path";
import { documentFormats } from "../../src/commands/flags.ts";
import { everyCommand } from "../../src/commands/program.ts";
import { knownLibraries } from "../../src/tls/layouts/layouts.ts";

const root = join(import.meta.dir, "../..");
const read = (file: string): string => readFileSync(join(root, file), "utf8");
const files = [...new Bun.Glob("{src,ffi}/**/*.ts").scanSync(root)].sort();

/** What stands behind `from`, and what is asked for later: the runtime's own scanner leaves types out. */
const specifier = /^(?:import|export)\s[^"]*?from "(\.[^"]+)"|\bimport\("(\.[^"]+)"\)/gm;

const imports: ReadonlyMap<string, readonly string[]> = new Map(
  files.map((file) => [
    file,
    [...read(file).matchAll(specifier)]
      .map(([, from, later]) => relative(root, resolve(root, dirname(file), from ?? later ?? "")))
      .filter((each) => files.includes(each)),
  ]),
);

test("every import that the runtime sees was read", () => {
  const transpiler = new Bun.Transpiler({ loader: "ts" });
  for (const file of files)
    for (const { path } of transpiler.scanImports(read(file))) {
      const target = relative(root, resolve(root, dirname(file), path));
      if (path.startsWith(".") && files.includes(target))
        expect([file, imports.get(file)]).toEqual([file, expect.arrayContaining([target])]);
    }
});

test("no file imports itself, by whatever way", () => {
  const circles: string[] = [];
  const done = new Set<string>();
  const visit = (file: string, way: readonly string[]): void => {
    const at = way.indexOf(file);
    if (at >= 0) circles.push([...way.slice(at), file].join(" > "));
    if (at >= 0 || done.has(file)) return;
    for (const each of imports.get(file) ?? []) visit(each, [...way, file]);
    done.add(file);
  };
  for (const file of files) visit(file, []);
  expect([files.length > 200, circles]).toEqual([true, []]);
});

/** Each floor's folders, the highest floor first. */
const floors = (/^```floors\n(.*?)^```$/ms.exec(read("docs/architecture.md"))?.[1] ?? "")
  .trim()
  .split("\n")
  .map((floor) => floor.split(/\s+/));
const floorOf = (folder: string): number => floors.findIndex((floor) => floor.includes(folder));

test("every folder stands on one floor", () => {
  expect(floors.flat().sort()).toEqual([...new Set(files.map(dirname))].sort());
});

test("no arrow runs up, nor between folders of one floor", () => {
  const wrong = files.flatMap((file) =>
    (imports.get(file) ?? []).flatMap((each) => {
      const [from, to] = [dirname(file), dirname(each)];
      return from === to || floorOf(from) < floorOf(to) ? [] : [`${file} > ${each}`];
    }),
  );
  expect(wrong).toEqual([]);
});

/** What a file stands for besides what it holds: the name is then another's, and not its own. */
const roleOf = (file: string, commands: readonly string[]): string | null => {
  const [folder, name] = [dirname(file), basename(file, ".ts")];
  if (folder === "src/commands" && commands.includes(name)) return `the command ${name}`;
  if (folder === "src/output" && [...commands, ...documentFormats].includes(name)) return `writes ${name}`;
  if (name === basename(folder)) return `the front of ${folder}`;
  return knownLibraries.some((library) => library === name) ? `what ${folder} has of ${name}` : null;
};

test("no two files have one name, but where it is a role's", async () => {
  const commands = (await everyCommand()).map(({ name }) => name.split(" ").at(-1) ?? "");
  const twice = [...Map.groupBy(files, (file) => basename(file)).values()].filter(
    (same) => same.length > 1 && same.some((file) => roleOf(file, commands) === null),
  );
  expect(twice).toEqual([]);
});

/** Types that a file tells others of, by their names. */
const exported = /^export (?:abstract )?(?:type|interface|class) (\w+)/gm;

test("no two types that are told to others have one name", () => {
  const types = files.flatMap((file) =>
    [...read(file).matchAll(exported)].map(([, name = ""]) => ({ name, file })),
  );
  expect(types.length).toBeGreaterThan(300);
  const twice = [...Map.groupBy(types, ({ name }) => name).values()].filter((same) => same.length > 1);
  expect(twice).toEqual([]);
});
