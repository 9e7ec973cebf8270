/** The walk that docs/architecture.md tells: a run of the sources, whose functions say when they are entered. */
import { expect, test } from "bun:test";
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";

const root = join(import.meta.dir, "../..");
const page = readFileSync(join(root, "docs/architecture.md"), "utf8");
const chapter = /^## One parameter's walk\n(.*?)^## /ms.exec(page)?.[1] ?? "";
const steps = [...chapter.matchAll(/^\| `(src\/[\w/.-]+)` \| `(\w+)` \|/gm)].map(
  ([, file = "", name = ""]) => ({
    file,
    name,
  }),
);
const command = /`offsetof (kernel --only \w+)`/.exec(chapter)?.[1]?.split(" ") ?? [];

/** Where the first statement of a function or method stands, or its expression. @throws where there is none of that name */
function bodyOf(text: string, name: string): number {
  const start = new RegExp(`(?:function ${name}|const ${name} =|\\b${name}:)(?: async)? ?\\(`).exec(text);
  if (start === null) throw new Error(`no function ${name}`);
  let at = start.index + start[0].length;
  for (let depth = 1; depth > 0; at++) depth += text[at] === "(" ? 1 : text[at] === ")" ? -1 : 0;
  const body = /\{\n|=>\n/g;
  body.lastIndex = at;
  const found = body.exec(text);
  if (found === null) throw new Error(`${name} has no body`);
  return found.index + found[0].length;
}

/** The text of a file in which that function says that it is entered. */
function withBell({ file, name }: (typeof steps)[number]): string {
  const text = readFileSync(join(root, file), "utf8");
  const at = bodyOf(text, name);
  const isExpression = text.slice(0, at).endsWith("=>\n");
  const bell = `globalThis.entered(${JSON.stringify(file)})`;
  return `${text.slice(0, at)}${isExpression ? `${bell} || ` : `${bell};`}${text.slice(at)}`;
}

test("--only offset_rtt goes from the command line to the number through these files, and back into none", () => {
  expect(steps.length).toBeGreaterThan(5);
  expect(steps.length).toBeLessThanOrEqual(10);
  expect(new Set(steps.map(({ file }) => file)).size).toBe(steps.length);
  const folder = mkdtempSync(join(tmpdir(), "offsetof-walk-"));
  try {
    const [heard, preload] = [join(folder, "heard"), join(folder, "preload.ts")];
    const texts = Object.fromEntries(steps.map((step) => [join(root, step.file), withBell(step)]));
    writeFileSync(
      preload,
      `import { appendFileSync } from "node:fs";
       const texts = ${JSON.stringify(texts)};
       globalThis.entered = (file) => void appendFileSync(${JSON.stringify(heard)}, file + "\\n");
       Bun.plugin({ name: "bells", setup: (build) => build.onLoad(
         { filter: /\\/src\\/.*\\.ts$/ },
         ({ path }) => ({ contents: texts[path] ?? require("node:fs").readFileSync(path, "utf8"), loader: "ts" }),
       ) });`,
    );
    const run = Bun.spawnSync(
      [process.execPath, "--preload", preload, join(root, "src/main.ts"), ...command, "--format", "json"],
      { stdout: "pipe", stderr: "pipe" },
    );
    expect(run.stderr.toString()).toBe("");
    const { constants } = JSON.parse(run.stdout.toString()).kernel;
    expect(constants).toEqual({ offset_rtt: expect.any(Number) });
    const files = readFileSync(heard, "utf8").trim().split("\n");
    // One struct after another is solved, that of our member first; the last is where all of them are judged.
    const [first, last] = [
      files.indexOf("src/offsets/solver.ts"),
      files.lastIndexOf("src/offsets/solver.ts"),
    ];
    const walked = [...files.slice(0, first + 1), ...new Set(files.slice(last + 1))];
    expect(walked).toEqual(steps.map(({ file }) => file));
  } finally {
    rmSync(folder, { recursive: true });
  }
});
