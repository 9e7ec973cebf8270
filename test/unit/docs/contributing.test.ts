/** CONTRIBUTING.md: each command of its table is there, takes the options that it is said to take, and names what exists. */
import { expect, test } from "bun:test";
import { existsSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { scripts } from "../../../package.json";

const root = join(import.meta.dir, "../../..");
const page = readFileSync(join(root, "CONTRIBUTING.md"), "utf8");
const rows = [...page.matchAll(/^\| ([^|]+) \| (.+) \| ([^|]+) \|$/gm)]
  .map(([, purpose = "", how = "", takes = ""]) => ({ purpose, how, takes }))
  .filter(({ how, takes }) => how.includes("`") && takes !== "---");

/** Everything in a text that is set as code. */
const codeIn = (text: string): string[] => [...text.matchAll(/`([^`]+)`/g)].map(([, code = ""]) => code);
const scriptsIn = (text: string): string[] =>
  [...text.matchAll(/\b(?:bun|npm) run ([\w:]+)/g)].map(([, name = ""]) => name);

const helps = new Map<string, string>();
const helpOf = (script: string): string => {
  const known = helps.get(script);
  if (known !== undefined) return known;
  const { stdout, exitCode } = Bun.spawnSync([process.execPath, "run", "--silent", script, "--help"], {
    cwd: root,
  });
  expect([script, exitCode]).toEqual([script, 0]);
  helps.set(script, stdout.toString());
  return stdout.toString();
};

test("the table has every command of package.json that is for people", () => {
  const named = new Set(scriptsIn(page));
  const usual = new Set(["start", "test", "build"]);
  const apart = new Set(["generate:layout"]); // docs/adding-a-tls-version.md
  expect(Object.keys(scripts).filter((name) => ![named, usual, apart].some((all) => all.has(name)))).toEqual(
    [],
  );
  expect([...named].filter((name) => !Object.hasOwn(scripts, name))).toEqual([]);
});

test("a command of the table takes the options that its row names, by its own --help", () => {
  const ofOthers = new Set(["types", "lint", "test:lab", "test:matrix"]);
  let options = 0;
  for (const { how } of rows)
    for (const script of scriptsIn(how).filter((name) => !ofOthers.has(name))) {
      const help = helpOf(script);
      expect(help).toContain(`bun run ${script}`);
      for (const [option] of codeIn(how)
        .join(" ")
        .matchAll(/--[a-z-]+/g)) {
        expect([script, option, help.includes(option)]).toEqual([script, option, true]);
        options++;
      }
    }
  expect(options).toBeGreaterThan(12);
});

test("files, tests, variables and folders that it names are there", () => {
  let variables = 0;
  for (const code of codeIn(page.replaceAll(/^```[\s\S]*?^```$/gm, ""))) {
    for (const [path] of code.matchAll(/(?<![\w/~.])(?:test|docs|src|\.ci)\/[\w./-]+/g))
      expect([path, existsSync(join(root, path))]).toEqual([path, true]);
    const [, file = "", name = ""] = / (test\/\S+\.test\.ts) -t "([^"]+)"/.exec(code) ?? [];
    if (file !== "") expect(readFileSync(join(root, file), "utf8")).toContain(`test("${name}`);
    for (const [, variable = ""] of code.matchAll(/\b(OFFSETOF_[A-Z_]+)=/g)) {
      const { exitCode } = Bun.spawnSync(["grep", "-rqw", "--include=*.test.ts", variable, "test"], {
        cwd: root,
      });
      expect([variable, exitCode]).toEqual([variable, 0]);
      variables++;
    }
  }
  expect(variables).toBeGreaterThan(5);
});
