import { describe, expect, test } from "bun:test";
import { readdirSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { generated } from "../../../docs/build/generated.ts";
import { everyCommand } from "../../../src/commands/program.ts";
import { until } from "../../until.ts";

const docs = join(import.meta.dir, "../../../docs");
const files = await generated();
const manual = join(docs, "offsetof.1");

test.each([...files])("docs/%s is what the code says: else run bun run docs", (path, text) => {
  expect(readFileSync(join(docs, path), "utf8")).toBe(text);
});

test("nothing else is in the folders that are generated", () => {
  const there = ["schema", "completions"].flatMap((folder) =>
    readdirSync(join(docs, folder)).map((file) => `${folder}/${file}`),
  );
  expect(there.toSorted()).toEqual([...files.keys()].filter((path) => path.includes("/")).toSorted());
});

function rendered(command: readonly string[]): string {
  const { stdout, stderr, exitCode } = Bun.spawnSync([...command], {
    cwd: docs,
    env: { PATH: "/usr/bin:/bin", MANWIDTH: "100", LC_ALL: "C.UTF-8", MAN_KEEP_FORMATTING: "" },
  });
  expect([exitCode, stderr.toString()]).toEqual([0, ""]);
  return stdout.toString();
}

test("man and groff render the manual page without a warning, and every command and flag is in it", async () => {
  const page = rendered(["man", "--warnings", "./offsetof.1"]).replaceAll(/\s+/g, " ");
  rendered(["groff", "-ww", "-man", "-Tutf8", manual]);
  for (const { name, args } of await everyCommand()) {
    expect(page).toContain(`offsetof ${name}`);
    for (const flag of Object.keys(args).filter((each) => args[each]?.type !== "positional"))
      expect(page).toContain(`--${flag}`);
  }
});

/** A shell on a terminal, with the completions, in a folder with one file. */
const shells = {
  bash: { start: ["bash", "--norc", "--noprofile", "-i"], load: `source ${docs}/completions/offsetof.bash` },
  zsh: {
    start: ["zsh", "-f", "-i"],
    load: `fpath=(${docs}/completions $fpath); autoload -U compinit; compinit -D -u`,
  },
} as const;

/** Types on the shell's terminal; returns the line that it then has, as the shell itself prints it. */
async function completed(shell: keyof typeof shells, typed: string): Promise<string> {
  const { start, load } = shells[shell];
  let screen = "";
  const shown = async (text: RegExp): Promise<string> => {
    const found = await until(() => text.exec(screen) ?? undefined);
    return found[1] ?? "";
  };
  const child = Bun.spawn([...start], {
    cwd: join(docs, "schema"),
    env: { PATH: "/usr/bin:/bin", TERM: "dumb", PS1: "$ ", HOME: "/nonexistent", LC_ALL: "C.UTF-8" },
    terminal: {
      cols: 200,
      rows: 50,
      data: (_, bytes) => {
        screen += new TextDecoder().decode(bytes);
      },
    },
  });
  try {
    child.terminal?.write(`${load}; echo rea''dy\n`);
    await shown(/ready/);
    child.terminal?.write(`${typed}\t`);
    for (let before = ""; before !== screen; await Bun.sleep(300)) before = screen;
    // To the beginning of the line: the shell is to print it, not to run it.
    child.terminal?.write(`\x01printf '<%s>' \x05\n`);
    return (await shown(/\n[^$]*?((?:<[^>]*>)+)/)).replaceAll(/<([^>]*)>/g, "$1 ").trimEnd();
  } finally {
    child.kill("SIGKILL");
    await child.exited;
  }
}

describe.each(["bash", "zsh"] as const)("in a real %s on a terminal", (shell) => {
  test.each([
    ["offsetof ker", "offsetof kernel"],
    ["offsetof det", "offsetof detect"],
    ["offsetof kernel --strat", "offsetof kernel --strategy"],
    ["offsetof kernel --strategy step", "offsetof kernel --strategy stepwise"],
    ["offsetof kernel --strategy=step", "offsetof kernel --strategy=stepwise"],
    ["offsetof tls --version-t", "offsetof tls --version-text"],
    ["offsetof --ver", "offsetof --ver"],
    ["offsetof kernel --format he", "offsetof kernel --format header"],
    ["offsetof detect --format t", "offsetof detect --format table"],
    ["offsetof kernel --source guess,b", "offsetof kernel --source guess,btf"],
    ["offsetof detect --format e", "offsetof detect --format e"],
    ["offsetof bytecode ext", "offsetof bytecode extract"],
    ["offsetof bytecode extract --for ker", "offsetof bytecode extract --for kernel"],
    ["offsetof verify tls --agai", "offsetof verify tls --against"],
    ["offsetof tls docu", "offsetof tls document.json"],
    ["offsetof btf -o docu", "offsetof btf -o document.json"],
    ["offsetof config docu", "offsetof config docu"],
  ])("%p becomes %p", async (typed, line) => {
    expect((await completed(shell, typed)).replace(/=$/, "")).toBe(line);
  });
});
