/** One file, the same bytes, in many roots and guests: docs/hosts.md tells what each command ends with. */
import { expect, test } from "bun:test";
import { readFileSync } from "node:fs";
import { join } from "node:path";
import { repository } from "../e2e/executable.ts";
import { guestTimeout } from "./guest.ts";
import { lineOf, tableRows, writeLine } from "./table.ts";

const path = join(repository, "docs/hosts.md");
const page = readFileSync(path, "utf8");
const isWriting = process.env.OFFSETOF_TABLE === "write";
const asked = (process.env.OFFSETOF_LAB ?? "").split(",");
/** Roots that cost seconds are made always, the others and guests where they are asked for. */
const chosen = tableRows.filter(({ lab }) =>
  lab === undefined ? asked[0] === "" || asked[0] === "all" : asked[0] === "all" || asked.includes(lab),
);

test.each(chosen.map((row) => [row.name, row] as const))(
  "%s",
  async (name, row) => {
    const line = lineOf(name, await row.ask());
    // At once: a guest takes long, and the next one may be stopped.
    if (isWriting) writeLine(path, name, line);
    else expect(page.split("\n")).toContain(line);
  },
  guestTimeout,
);
