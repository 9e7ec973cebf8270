import { afterAll, beforeAll, describe, expect, test } from "bun:test";
import { chmodSync, existsSync, mkdirSync, writeFileSync } from "node:fs";
import { dirname, join } from "node:path";
import { commandOf, everyCommand } from "../../src/commands/program.ts";
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
const recipes = scriptsOf(/^## Recipes$([\s\S]*?)^## /m.exec(readme)?.[1] ?? "");

/** What varies from machine to machine: numbers and the kernel's release. */
const alike = (text: string): string => text.replaceAll(/\d[\w.+-]*/g, "N");

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

test("the recipes are the five that are promised", () => {
  expect(recipes.map(({ printed }) => printed === undefined)).toEqual(Array.from({ length: 5 }, () => false));
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
