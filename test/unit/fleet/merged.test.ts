import { expect, test } from "bun:test";
import { Merge } from "../../../src/fleet/merged.ts";
import type { Earlier } from "../../../src/output/earlier.ts";
import { library, machine } from "./sample.ts";

function merged(documents: Readonly<Record<string, Earlier>>) {
  const merge = new Merge();
  for (const [name, document] of Object.entries(documents)) merge.add(name, document);
  return merge.result();
}

test("machines of one release have one layout, as sure as the surest of them", () => {
  const { layouts } = merged({
    h1: machine("6.1", { a: [8, "single"], b: [null, "unresolved", "no probe"] }),
    h2: machine("6.1", { a: [8, "confirmed"], b: [4, "single"] }),
  });
  expect(layouts.kernels).toEqual([
    {
      arch: "x64",
      release: "6.1",
      version: [6, 1, 0],
      machines: 2,
      first: ["h1", "h2"],
      constants: { a: 8, b: 4 },
      fields: {
        a: { member: "type.a", status: "confirmed" },
        b: { member: "type.b", status: "single", unknown: { machines: 1, first: ["h1"] } },
      },
    },
  ]);
});

test("a liar is named, and takes the number away that it lies about, and no other", () => {
  const honest = () => machine("6.1", { a: [8, "confirmed"], b: [4, "confirmed"] });
  const { odd, layouts } = merged({
    h1: honest(),
    liar: machine("6.1", { a: [12, "confirmed"], b: [4, "confirmed"] }),
    h3: honest(),
  });
  expect(odd).toEqual([
    { machine: "liar", arch: "x64", release: "6.1", constants: { a: { told: 12, others: 8 } } },
  ]);
  expect(layouts.kernels[0]?.constants).toEqual({ a: null, b: 4 });
  expect(layouts.kernels[0]?.fields.a).toEqual({
    member: "type.a",
    status: "conflict",
    reason: "machines tell different offsets: 12 (1), 8 (2)",
  });
});

test("where no value has most, all that differ are named", () => {
  const { odd } = merged({
    h1: machine("6.1", { a: [8, "single"] }),
    h2: machine("6.1", { a: [12, "single"] }),
  });
  expect(odd.map((one) => [one.machine, one.constants.a])).toEqual([
    ["h1", { told: 8, others: null }],
    ["h2", { told: 12, others: null }],
  ]);
});

test("that a member is absent is a word against a number, and an unknown one is none", () => {
  const { odd, layouts } = merged({
    h1: machine("6.1", { a: [null, "absent"], b: [null, "unresolved"] }),
    h2: machine("6.1", { a: [null, "absent"], b: [4, "single"] }),
    h3: machine("6.1", { a: [8, "single"], b: [4, "single"] }),
  });
  expect(odd.map((one) => [one.machine, one.constants])).toEqual([
    ["h3", { a: { told: 8, others: "absent" } }],
  ]);
  expect(layouts.kernels[0]?.fields.b?.status).toBe("single");
});

test("a library is its build id, wherever it lies; without one it is left out, which is told", () => {
  const { layouts, diagnostics } = merged({
    h1: machine("6.1", null, [
      library("/a.so", "11", { S: [8, "single"] }),
      library("/a.so", "11", { S: [8, "single"] }, { root: "/proc/9/root" }),
      library("/none.so", null, { S: [9, "single"] }),
    ]),
    h2: machine("6.2", null, [library("/b.so", "11", { S: [8, "confirmed"] })]),
  });
  expect(layouts.libraries).toMatchObject([
    { build_id: "11", machines: 2, paths: ["/a.so", "/b.so"], constants: { S: 8 } },
  ]);
  expect(diagnostics).toEqual([{ code: "W_NO_BUILD_ID", message: expect.stringContaining("h1 /none.so") }]);
});

test("the same release on another architecture is another thing", () => {
  const { layouts, odd } = merged({
    h1: machine("6.1", { a: [8, "single"] }),
    h2: machine("6.1", { a: [12, "single"] }, undefined, "arm64"),
  });
  expect([layouts.kernels.length, odd.length]).toEqual([2, 0]);
});

test("kernels of one layout are one group, the largest first", () => {
  const { groups } = merged({
    h1: machine("6.1", { a: [8, "single"] }),
    h2: machine("6.3", { a: [12, "single"] }),
    h3: machine("6.2", { a: [12, "single"] }),
  });
  expect(groups).toEqual([
    { arch: "x64", machines: 2, releases: ["6.2", "6.3"] },
    { arch: "x64", machines: 1, releases: ["6.1"] },
  ]);
});

test("functions are merged as constants are: a liar is named, and takes the number away that it lies about", () => {
  const at = (address: number | null, status = "single") => ({
    SSL_write: { address, offset: address, status, evidence: {} },
    SSL_read_ex: { address: null, offset: null, status: "absent", evidence: {} },
  });
  const with_ = (functions: object) =>
    machine("6.1", null, [library("/usr/lib/libssl.so.3", "aa", { a: [8, "confirmed"] }, { functions })]);
  const honest = () => with_(at(4096));
  const agreed = merged({ h1: honest(), h2: with_(at(null, "unresolved")), h3: with_({}) });
  expect(agreed.odd).toEqual([]);
  expect(agreed.layouts.libraries[0]).toMatchObject({
    machines: 3,
    constants: { a: 8 },
    functions: {
      SSL_write: {
        address: 4096,
        offset: 4096,
        status: "single",
        unknown: { machines: 1, first: ["h2"] },
      },
      SSL_read_ex: { address: null, offset: null, status: "absent" },
    },
  });
  expect(Object.keys(agreed.layouts.libraries[0]?.fields ?? {})).toEqual(["a"]);

  const { odd, layouts } = merged({ h1: honest(), liar: with_(at(8192)), h3: honest() });
  expect(odd).toEqual([
    {
      machine: "liar",
      arch: "x64",
      build_id: "aa",
      constants: {
        SSL_WRITE_ADDRESS: { told: 8192, others: 4096 },
        SSL_WRITE_OFFSET: { told: 8192, others: 4096 },
      },
    },
  ]);
  expect(layouts.libraries[0]?.functions.SSL_write).toEqual({
    address: null,
    offset: null,
    status: "conflict",
    reason: "machines tell different offsets: 4096 (2), 8192 (1)",
  });
});
