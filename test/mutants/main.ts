/**
 * bun run mutants [NAME...]: makes each change of mutants.ts, or those whose names hold one of the words given, in a
 * copy of this checkout that is thrown away, and runs the tests that must find it. As root, as the tests are run.
 *
 * It ends with 1 where a test finds nothing, where a change cannot be made any more, and where a test fails without it.
 */
import { cpSync, mkdtempSync, rmSync, symlinkSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { optionsOf } from "../../assets/build/options.ts";
import { repository } from "../../assets/build/paths.ts";
import { run } from "../../assets/build/run.ts";
import { type Mutant, mutants } from "./mutants.ts";

type Test = Mutant["tests"][number];

/** Milliseconds for one file of tests. What does not end has found nothing. */
const LONGEST = 600_000;

/** Every file that is no product, with the packages that are installed beside them. */
async function copyCheckout(): Promise<string> {
  const folder = mkdtempSync(join(tmpdir(), "offsetof-mutants-"));
  process.on("exit", () => rmSync(folder, { recursive: true, force: true }));
  for (const signal of ["SIGINT", "SIGTERM", "SIGHUP"] as const) process.on(signal, () => process.exit(1));
  const list = ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard", "--deduplicate"];
  const { stdout } = await run(list, { cwd: repository });
  for (const file of stdout.split("\0").filter((name) => name !== ""))
    if (await Bun.file(join(repository, file)).exists()) cpSync(join(repository, file), join(folder, file));
  symlinkSync(join(repository, "node_modules"), join(folder, "node_modules"));
  return folder;
}

/** How many of the tests failed; a reason where that is not known. */
async function failures(folder: string, [file, name]: Test): Promise<number | string> {
  // These have the executable do it, or load what looks for it.
  if (!file.startsWith("test/unit/")) await run([process.execPath, "build.ts"], { cwd: folder });
  const pattern = name.replaceAll(/[^\w ,']/g, ".");
  const child = Bun.spawn(
    [process.execPath, "test", file, `--timeout=${LONGEST}`, "--test-name-pattern", pattern],
    {
      cwd: folder,
      stdio: ["ignore", "pipe", "pipe"],
      timeout: LONGEST,
    },
  );
  const [stderr] = await Promise.all([new Response(child.stderr).text(), child.exited]);
  const count = (what: string) => Number(new RegExp(`^ *(\\d+) ${what}$`, "m").exec(stderr)?.[1] ?? 0);
  if (child.signalCode !== null) return `did not end in ${LONGEST / 1000} seconds`;
  return count("pass") + count("fail") === 0 ? `ran no test:\n${stderr}` : count("fail");
}

/** Makes the change for as long as `act` takes. */
async function withMutant<Result>(
  folder: string,
  { file, text, replacement }: Mutant,
  act: () => Promise<Result>,
) {
  const path = join(folder, file);
  const before = await Bun.file(path).text();
  const [head = "", ...tails] = before.split(text);
  const [tail] = tails;
  if (tail === undefined || tails.length > 1)
    throw new Error(`${file} has the text of it ${tails.length} times`);
  const after = `${head}${replacement}${tail}`;
  new Bun.Transpiler({ loader: "ts" }).transformSync(after); // what is no program fails every test
  await Bun.write(path, after);
  try {
    return await act();
  } finally {
    await Bun.write(path, before);
  }
}

/** What a test makes of a change; null where it finds it. */
async function verdict(folder: string, mutant: Mutant, test: Test): Promise<string | null> {
  try {
    const failed = await withMutant(folder, mutant, () => failures(folder, test));
    if (typeof failed === "string") return failed;
    return failed > 0 ? null : "survived";
  } catch (error) {
    return error instanceof Error ? error.message : String(error);
  }
}

const { positionals: words } = optionsOf({ allowPositionals: true });
const chosen = mutants.filter(({ name }) => words.length === 0 || words.some((word) => name.includes(word)));
if (chosen.length === 0) throw new Error(`no mutant has ${words.join(" or ")} in its name`);
const folder = await copyCheckout();
const bad = new Set<string>();
const tell = (name: string, test: Test, found: string | null): void => {
  if (found !== null) bad.add(name);
  console.log(`${found === null ? "ok  " : "BAD "} ${name}: ${test.join(": ")}${found ? `: ${found}` : ""}`);
};

const tests = new Map(chosen.flatMap((mutant) => mutant.tests).map((test) => [test.join(), test]));
for (const test of tests.values()) {
  const failed = await failures(folder, test);
  if (failed !== 0) tell("without any change", test, typeof failed === "string" ? failed : "fails");
}
if (bad.size > 0) process.exit(1);
for (const mutant of chosen)
  for (const test of mutant.tests) tell(mutant.name, test, await verdict(folder, mutant, test));
console.log(`${chosen.length} mutants, ${bad.size} survivors`);
process.exit(bad.size > 0 ? 1 : 0);
