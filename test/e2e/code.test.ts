import { expect, test } from "bun:test";
import { documentOf, executable, run } from "./executable.ts";

const libraries = (...sources: string[]) =>
  (documentOf(run([executable, "tls", "--source", sources.join()])).tls ?? []).filter(
    (one) => one.library === "openssl",
  );

test("the executable reads the code of this machine's OpenSSL, and it agrees with the table", () => {
  const found = libraries("code", "table");
  expect(found.length).toBeGreaterThan(0);
  for (const { fields } of found) {
    const measured = Object.values(fields).filter(({ evidence }) => evidence.code !== undefined);
    expect(measured.length).toBeGreaterThan(10);
    const both = measured.filter(({ evidence }) => evidence.table !== undefined);
    expect(new Set(both.map(({ status }) => status))).toEqual(new Set(["confirmed"]));
  }
});

test("each source alone says only its own", () => {
  for (const source of ["code", "table"]) {
    const spoke = libraries(source).flatMap(({ fields }) =>
      Object.values(fields).flatMap(({ evidence }) => Object.keys(evidence)),
    );
    expect(new Set(spoke)).toEqual(new Set([source]));
  }
});
