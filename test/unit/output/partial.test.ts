import { expect, test } from "bun:test";
import { assembled, joined, type Patch } from "../../../src/output/partial.ts";

test("parts of a document are joined in the order they came", () => {
  const parts: readonly Patch[] = [
    { host: { a: 1 }, diagnostics: ["first"] },
    { detect: { kernel: 1, tls: [] } },
    { tls: [1], diagnostics: [] },
    { tls: [2], diagnostics: ["second"], detect: { tls: [3] } },
  ];
  expect(parts.reduce(joined, {})).toEqual({
    host: { a: 1 },
    diagnostics: ["first", "second"],
    detect: { kernel: 1, tls: [3] },
    tls: [1, 2],
  });
});

test("parts that come in any order stand by rank, and those of one rank as they came", () => {
  const parts = [
    { rank: 0, patch: { host: 1, diagnostics: ["host"] } },
    { rank: 3, patch: { tls: [3], diagnostics: [] } },
    { rank: 0, patch: { diagnostics: ["search"] } },
    { rank: 1, patch: { tls: [1], diagnostics: ["first"] } },
  ];
  expect(assembled(parts)).toEqual({ host: 1, diagnostics: ["host", "search", "first"], tls: [1, 3] });
  expect(assembled([])).toEqual({});
});
