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

/** What else runs on the way, by the beginning of its name, and why it is no step of the walk. */
const aside = {
  "src/self/": "what the program itself is and is at: it knows of no constant",
  "src/input/": "reads files, whatever is in them",
  "src/host/": "what the machine allows, which `look` hands on as one report",
  "src/net/": "addresses, sockets and netlink, for whoever connects",
  "src/btf/": "reads BTF, for whatever member",
  "src/output/":
    "has nothing to do with where the number comes from: it shows what was chosen, or what failed",
  "src/bytecode/pick.ts": "names the eBPF object of a library",
  "src/commands/arguments.ts": "gives arguments back the bytes that the runtime lost",
  "src/commands/program.ts": "loads the command that `runCommandLine` asks for",
  "src/commands/flags.ts": "tables of flags, and whether they are used rightly",
  "src/commands/settings.ts": "the table of settings, which `look` reads",
  "src/commands/deadline.ts": "has `look` end in time",
  "src/commands/told.ts": "prints documents of earlier runs, of which none is named",
  "src/commands/print.ts": "the way goes on there, behind the number",
  "src/kernel/fields/": "tables, and what BTF says of a row",
  "src/kernel/running/": "which eBPF object this kernel takes, and how it is told which thread is meant",
  "src/kernel/stimulus/": "makes the connections whose values are known",
  "src/kernel/snapshot/recorder.ts": "has the copies taken, and reads no member",
  "src/kernel/snapshot/witness.ts": "notes which packets passed",
  "src/kernel/snapshot/chase.ts": "follows pointers to other structs",
  "src/kernel/snapshot/packet-headers.ts": "other structs: what sk_buff.head leads to",
  "src/kernel/snapshot/tracking.ts": "other structs: nf_conn",
  "src/offsets/observation.ts": "what `solveStruct` hands the solver",
  "src/offsets/values.ts": "values as bytes",
  "src/offsets/pointers.ts": "other members: those that point somewhere",
  "src/offsets/recheck.ts":
    "looks at what was solved once more: it gives no number, and may only take one back",
} as const;
/** Of a file below src/ that ran, the rows that say why it is no step. */
const asideOf = (file: string): readonly string[] =>
  Object.keys(aside).filter((start) => file.startsWith(start));

test("whatever file of ours takes part is a step of that walk, or is told why not", () => {
  const folder = mkdtempSync(join(tmpdir(), "offsetof-walk-"));
  try {
    const words = JSON.stringify([...command, "--format", "json"]);
    writeFileSync(
      join(folder, "walk.test.ts"),
      `import { test } from "bun:test";
       test("the walk", async () => {
         process.argv.splice(2, Infinity, ...${words});
         await import(${JSON.stringify(join(root, "src/main.ts"))});
       }, 600_000);`,
    );
    const coverage = ["--coverage", "--coverage-reporter=lcov", `--coverage-dir=${folder}`];
    const run = Bun.spawnSync([process.execPath, "test", ...coverage, join(folder, "walk.test.ts")], {
      cwd: root,
      stdout: "ignore",
      stderr: "pipe",
    });
    expect([run.exitCode, run.stderr.toString()]).toEqual([0, expect.any(String)]);
    // Of each file of ours how many of its functions were called: one that was only loaded holds tables.
    const files = readFileSync(join(folder, "lcov.info"), "utf8")
      .split("end_of_record")
      .flatMap((record) => {
        const file = /^SF:(src\/.*)$/m.exec(record)?.[1];
        return file !== undefined && Number(/^FNH:(\d+)$/m.exec(record)?.[1]) > 0 ? [file] : [];
      });
    const walked: readonly string[] = steps.map(({ file }) => file);
    expect(files).toEqual(expect.arrayContaining([...walked]));
    expect(files.filter((file) => !walked.includes(file) && asideOf(file).length === 0)).toEqual([]);
    // A row that excuses a step of the walk, or nothing at all, would let the table lose one.
    expect(walked.flatMap(asideOf)).toEqual([]);
    const all = [...new Bun.Glob("src/**/*.ts").scanSync(root)];
    expect(Object.keys(aside).filter((start) => !all.some((file) => file.startsWith(start)))).toEqual([]);
  } finally {
    rmSync(folder, { recursive: true });
  }
});

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
