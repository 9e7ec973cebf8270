import { afterAll, beforeAll, describe, expect, test } from "bun:test";
import { chmodSync, copyFileSync, existsSync, mkdirSync, writeFileSync } from "node:fs";
import { dirname, join } from "node:path";
import { commandOf, everyCommand } from "../../src/commands/program.ts";
import { buildExamples } from "../examples.ts";
import { executable, repository, run, Scratch } from "./executable.ts";

const pages = [
  "README.md",
  "docs/answers.md",
  "docs/install.md",
  "CONTRIBUTING.md",
  "SECURITY.md",
  "CHANGELOG.md",
  "docs/architecture.md",
];
const textOf = (page: string): Promise<string> => Bun.file(join(repository, page)).text();
const readme = await textOf("README.md");
const answers = await textOf("docs/answers.md");
const travels = /^## What travels$([\s\S]*?)^## /m.exec(await textOf("docs/install.md"))?.[1] ?? "";

/** Scripts of a page, each with what it is said to print, where that is said. */
const scriptsOf = (text: string) =>
  [...text.matchAll(/^```sh\n([\s\S]*?)^```$(?:\n\n^```text\n([\s\S]*?)^```$)?/gm)].map(
    ([, script = "", printed]) => ({ script, printed }),
  );
const shown = /^## Sessions$([\s\S]*?)^## /m.exec(readme)?.[1] ?? "";
const recipes = scriptsOf(shown);

/** What was typed for each kind of user, and what each command printed. */
const sessions = shown.split(/^(?=\*\*)/m).flatMap((text) => {
  const user = /^\*\*(.+?)\*\*/.exec(text)?.[1];
  const typed = /^```console\n([\s\S]*?)^```$/m.exec(text)?.[1];
  if (user === undefined || typed === undefined) return [];
  const steps = typed.split(/^\$ /m).slice(1);
  return {
    user,
    steps: steps.map((step) => /^(?<command>.*)\n(?<printed>[\s\S]*)$/.exec(step)?.groups ?? {}),
  };
});

/** What varies from machine to machine: numbers and the kernel's release. */
const alike = (text: string): string => text.replaceAll(/\d[\w.+-]*/g, "N");

/** The same of a table, whose columns are as wide as those numbers; `…` in a page stands for anything. */
const alikeInTable = (text: string): string => alike(text).replaceAll(/ {2,}/g, "  ");
const patternOf = (printed: string): RegExp =>
  new RegExp(
    `^${printed
      .split("…")
      .map((part) => RegExp.escape(alikeInTable(part)))
      .join("[\\s\\S]*")}$`,
  );

/** A machine of its own that answers to ssh as web1 and web2: a mount and a network namespace with dropbear inside. */
const fleet = new Scratch();
afterAll(() => fleet[Symbol.dispose]());
const [home, ssh] = [fleet.at("home"), fleet.at("home/.ssh")];
const port = 2222;

beforeAll(() => {
  mkdirSync(ssh, { recursive: true, mode: 0o700 });
  chmodSync(home, 0o700);
  run(["dropbearkey", "-t", "ed25519", "-f", fleet.at("host.key")]);
  run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", join(ssh, "id_ed25519")]);
  run(["cp", join(ssh, "id_ed25519.pub"), join(ssh, "authorized_keys")]);
  const config =
    "Host web1 web2\n HostName 127.0.0.1\n Port 2222\n StrictHostKeyChecking no\n UserKnownHostsFile /dev/null\n LogLevel ERROR\n";
  writeFileSync(join(ssh, "config"), config);
  writeFileSync(
    fleet.at("passwd"),
    `root:x:0:0:root:${home}:/bin/sh\nnobody:x:65534:65534::/:/usr/sbin/nologin\n`,
  );
});

const withFleet = (...command: string[]): string[] => {
  const start = `ip link set lo up; mount --bind ${fleet.at("passwd")} /etc/passwd
    dropbear -F -E -s -r ${fleet.at("host.key")} -p 127.0.0.1:${port} 2> ${fleet.at("log")} & server=$!
    until ss -tln | grep -q :${port}; do sleep 0.05; done
    "$@"; status=$?; kill $server; exit $status`;
  return ["unshare", "--mount", "--net", "bash", "-c", start, "bash", ...command];
};

describe.each(["dash", "bash"])("in %s", (shell) => {
  test.each(
    [...recipes, ...scriptsOf(answers), ...scriptsOf(travels)].map(
      (recipe) => [recipe.script.split("\n")[0], recipe] as const,
    ),
  )("the recipe works and prints what is said: %s", (_, { script, printed }) => {
    using scratch = new Scratch();
    const env = { PATH: `${dirname(executable)}:/usr/sbin:/usr/bin:/sbin:/bin` };
    // How hard is compressed makes no difference to the rest of the line.
    const command = [shell, "-c", `set -eu\n${script.replace("zstd -19", "zstd -1")}`];
    const done = run(script.includes("ssh ") ? withFleet(...command) : command, { cwd: scratch.path, env });
    const stderr = done.stderr.replaceAll(/^\[warn\] .*\n/gm, "");
    expect({ status: done.status, stderr }).toEqual({ status: 0, stderr: "" });
    if (printed !== undefined) expect(alike(done.stdout)).toBe(alike(printed));
  });
});

describe.each(["dash", "bash"])("typed in %s", (shell) => {
  test.each(sessions.map((session) => [session.user, session] as const))(
    "the session prints what is said: %s",
    async (_, { steps }) => {
      using scratch = new Scratch();
      const { object } = await buildExamples();
      copyFileSync(object, scratch.at("connections.bpf.o"));
      // Behind what each prints comes its status, between characters that nothing prints.
      const script = steps.map(({ command }) => `${command}\nprintf '\\036%d\\036' $?`).join("\n");
      const env = { PATH: `${dirname(executable)}:/usr/sbin:/usr/bin:/sbin:/bin` };
      const { stdout, stderr } = run([shell, "-c", script], { cwd: scratch.path, env });
      const told = stdout.split("\x1e");
      for (const [at, { command, printed }] of steps.entries()) {
        expect([command, stderr, told[2 * at + 1]]).toEqual([
          command,
          stderr,
          expect.stringMatching(/^[03]$/),
        ]);
        expect(alikeInTable(told[2 * at] ?? "")).toMatch(patternOf(printed ?? ""));
      }
    },
  );
});

test("sessions and the fleet are those that are promised", () => {
  expect(sessions.map(({ user, steps }) => [user, steps.length])).toEqual([
    ["A TLS tracer such as eCapture", 4],
    ["A network tracer such as Datadog's", 2],
    ["A CO-RE program", 3],
    ["A shell", 5],
  ]);
  expect(recipes.map(({ printed }) => printed === undefined)).toEqual([false]);
});

test("README tells of every command", async () => {
  for (const { name } of await everyCommand()) {
    const [word = ""] = name.split(" ");
    if (word !== "run") expect(readme).toContain(`| \`offsetof ${word}`);
  }
});

test.each(pages)("what %s leads to is there", async (page) => {
  const text = await textOf(page);
  for (const [, target = ""] of text.matchAll(/\]\(([^)#]+)(?:#[\w-]+)?\)/g))
    expect([target, existsSync(join(repository, dirname(page), target))]).toEqual([target, true]);
});

test("a command in a page is one that there is", async () => {
  for (const page of [...pages, "docs/bytecode.md", "docs/gateway.md", "docs/configuration.md"])
    for (const [, words = ""] of (await textOf(page)).matchAll(/`offsetof ([a-z][a-z ]*)/g))
      await commandOf(words.trim().split(" "));
});
