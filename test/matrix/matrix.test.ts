import { afterAll, beforeAll, describe, expect, test } from "bun:test";
import * as v from "valibot";
import { bakedSchema } from "../../src/output/bytecode-schema.ts";
import { documentOf, executable, run, Scratch } from "../e2e/executable.ts";
import { jsonOf } from "../schema.ts";
import { truthOf } from "../truth/read.ts";
import { wrongNumbers } from "../truth/wrong.ts";
import { type Built, buildVariant, cellsOf } from "./build.ts";
import { chosenVariants, isAllChosen, nameOf, releases } from "./variants.ts";

/** A build from nothing on a busy machine included. Milliseconds. */
const TIMEOUT = 3_600_000;

/** What was told of each cell, for docs/benchmarks.md. */
const figures: { variant: string; cell: string; known: number; null: number; wrong: number }[] = [];
afterAll(() => {
  if (isAllChosen()) console.table(figures);
});

describe.each(chosenVariants().map((variant) => ({ variant, name: nameOf(variant) })))(
  "OpenSSL $name",
  ({ variant, name }) => {
    let built: Built;
    beforeAll(async () => {
      built = await buildVariant(variant);
    }, TIMEOUT);

    test("has constants that lie elsewhere than in Debian's build", () => {
      const published = truthOf(releases[variant.release].published);
      const moved = Object.entries(built.truth).filter(([member, offset]) => offset !== published[member]);
      expect(moved.filter(([member]) => !member.startsWith("sizeof_"))).not.toEqual([]);
    });

    test.each(cellsOf(variant))("$name: no wrong number", async (cell) => {
      const path = await built.path(cell);
      const result = run([executable, "tls", path, "--trust", path]);
      const document = documentOf(result);
      const wrong = wrongNumbers(document, built.truth);
      const told = (document.tls ?? []).flatMap(({ constants }) => Object.values(constants));
      const known = told.filter((value) => value !== null).length;
      const counts = { known, null: told.length - known, wrong: wrong.length };
      figures.push({ variant: name, cell: cell.name, ...counts });
      expect(wrong).toEqual([]);
      expect(document.tls).toHaveLength(1);
      if (cell.isNamed) expect(known).toBeGreaterThan(12);
      expect(result.status).toBe(known > 0 && known === told.length ? 0 : 3);
      // As where it may not be executed.
      for (const sources of ["code,table", "references,table"]) {
        const still = run([executable, "tls", path, "--source", sources]);
        expect(wrongNumbers(documentOf(still), built.truth)).toEqual([]);
      }
    });

    test.each(cellsOf(variant))("$name: a wrong number that is allowed is marked", async (cell) => {
      const path = await built.path(cell);
      const allowed = documentOf(run([executable, "tls", path, "--trust", path, "--allow", "assumed"]));
      const fields = Object.assign({}, ...(allowed.tls ?? []).map((library) => library.fields));
      const marks = wrongNumbers(allowed, built.truth).map(({ constant }) => fields[constant]?.status);
      expect(marks.filter((status) => status !== "assumed")).toEqual([]);
    });

    test.each(cellsOf(variant))("$name: no wrong number is written into bytecode", async (cell) => {
      using scratch = new Scratch();
      const path = await built.path(cell);
      const extract = ["bytecode", "extract", "--for", path, "-o", scratch.at("tls.o"), "--trust", path];
      const { status, stdout } = run([executable, ...extract]);
      // Where nothing can be picked there is no object, and no answer.
      const baked = stdout === "" ? [] : [v.parse(bakedSchema, jsonOf("baked", stdout))];
      expect(wrongNumbers({ tls: baked }, built.truth)).toEqual([]);
      if (baked.some(({ constants }) => Object.values(constants).includes(null))) expect(status).toBe(3);
    });
  },
);
