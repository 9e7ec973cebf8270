import { expect, test } from "bun:test";
import { readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { hang } from "../until.ts";
import { repository, Scratch } from "./executable.ts";

/** What a newcomer types, and what is said before it. */
const steps: readonly (readonly [say: string, type: string])[] = [
  [
    "From a fresh clone, one command builds the executable and runs it. The first time it installs the pinned packages:",
    "npm start -- kernel --get offset_rtt",
  ],
  [
    "That is where `srtt_us` lies in this kernel's `struct tcp_sock`. How sure is it? Here the guess and the kernel's BTF agree:",
    "dist/offsetof kernel --only offset_daddr,offset_rtt | jq -c .kernel.fields.offset_rtt",
  ],
  [
    "For people there is a table, on a terminal without asking:",
    "dist/offsetof kernel --only offset_daddr,offset_rtt --format table",
  ],
  [
    "And the TLS library that the machine's `openssl` uses:",
    "dist/offsetof tls /usr/bin/openssl --only SSL_ST_RBIO | jq -c '.tls[0] | [.library, .constants, .fields.SSL_ST_RBIO.status]'",
  ],
  [
    "What would be done on this machine, without doing it:",
    "dist/offsetof detect | jq -c '.detect.kernel.sources.btf'",
  ],
];

const page = join(repository, "docs/first-steps.md");

/** Runs a command line as on a terminal: what it says on either stream, in order. */
function typed(line: string, cwd: string): string {
  const { stdout, exitCode } = Bun.spawnSync(["bash", "-o", "pipefail", "-c", `{ ${line}; } 2>&1`], {
    cwd,
    env: { ...process.env, NO_COLOR: "1" },
    stdin: "ignore",
    timeout: hang,
  });
  if (exitCode !== 0) throw new Error(`${line}: exit ${exitCode}\n${stdout}`);
  return stdout.toString();
}

/** What varies: numbers, and in a table the widths, what this host is, and what could not be told of it. */
const alike = (text: string): string =>
  text
    .replaceAll(
      /^(kernel|built by|machine|lockdown|btf|kprobes|raw tracepoints|tracefs|privileges|KERNEL) +.*$/gm,
      "$1",
    )
    .replaceAll(/^(DIAGNOSTICS|W_[A-Z_]+ .*|npm .*)\n/gm, "")
    .replaceAll(/\d[\d.]*/g, "N")
    .replaceAll(/ +/g, " ")
    .replaceAll(/\n{2,}/g, "\n");

test("docs/first-steps.md is what a newcomer sees; RECORD=1 records it anew", () => {
  using scratch = new Scratch();
  const clone = scratch.at("offsetof");
  typed(`git clone --quiet ${repository} ${clone}`, "/");
  const recorded = steps.map(
    ([say, type]) => `${say}\n\n\`\`\`console\n$ ${type}\n${typed(type, clone)}\`\`\`\n`,
  );
  const text = `# First steps\n\nRecorded by \`test/e2e/first-steps.test.ts\` on a Debian machine, as root, in a fresh clone.\n\n${recorded.join("\n")}
Next: [the README](../README.md#sessions) has sessions of what programs take, [what the answers mean](answers.md) explains every key.\n`;
  if (process.env.RECORD === "1") writeFileSync(page, text);
  expect(alike(text)).toBe(alike(readFileSync(page, "utf8")));
});
