import { expect, test } from "bun:test";
import { joined, type Patch } from "../../../src/output/partial.ts";

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
