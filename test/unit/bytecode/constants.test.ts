import { expect, test } from "bun:test";
import { chooseValues, subjectIn } from "../../../src/bytecode/constants.ts";
import { readEarlier } from "../../../src/output/earlier.ts";
import { Failure } from "../../../src/output/failure.ts";

const document = (parts: object, version = "2.0"): string =>
  JSON.stringify({
    format_version: version,
    tool: { name: "offsetof", version: "0.1.0", arch: "x64", libc: "glibc" },
    host: { kernel: { release: "6.1.0", version: [6, 1, 0] } },
    ...parts,
  });
const field = (status: string) => ({ status, value: 1, member: "a.b" });
const kernel = {
  constants: { a: 1, b: null, c: 3 },
  fields: { a: field("confirmed"), b: field("conflict"), c: field("assumed") },
};
const library = (path: string | null, root?: string) => ({
  path,
  root,
  library: "openssl",
  version: "3.0.22",
  match: "exact",
  constants: { s: 8 },
});

test("documents of later minor versions are read, whatever they add", () => {
  const source = readEarlier(document({ kernel: { ...kernel, more: 1 }, extra: true }, "2.99"), "f.json");
  expect(subjectIn(source, "kernel").constants).toEqual(kernel.constants);
});

test("a document that was written by hand needs no more of its kernel than the version", () => {
  const text = document({ kernel, host: { kernel: { version: [6, 1, 0] } } });
  expect(subjectIn(readEarlier(text, "f.json"), "kernel").constants).toEqual(kernel.constants);
});

test.each<[what: string, text: string, message: string]>([
  ["no JSON", "{", "f.json: line 1, column 2: "],
  ["another shape", "[]", "f.json: format_version: "],
  [
    "another major version",
    document({}, "1.2"),
    "f.json: format_version: must be a document of format_version 2",
  ],
  ["a negative offset", document({ kernel: { constants: { a: -1 } } }), "f.json: kernel.constants.a: "],
  [
    "a name that is none",
    document({ kernel: { constants: { "x; id": 1 } } }),
    "f.json: kernel.constants.x; id: a constant's name is an identifier",
  ],
  ["half a byte", document({ kernel: { constants: { a: 1.5 } } }), "f.json: kernel.constants.a: "],
  [
    "the absent value",
    document({ kernel: { constants: { a: 0xffff_ffff } } }),
    "f.json: kernel.constants.a: ",
  ],
  ["a text", document({ kernel: { constants: { a: "1" } } }), "f.json: kernel.constants.a: "],
])("%s is a failure that says where", (_what, text, message) => {
  expect(() => readEarlier(text, "f.json")).toThrow(Failure);
  expect(() => readEarlier(text, "f.json")).toThrow(message);
});

test("a library is chosen by its path, in a container with its root", () => {
  const [one, two] = ["/proc/1/root", "/proc/2/root"] as const;
  const tls = [library("/a.so"), library("/b.so", one), library("/b.so", two), library(null)];
  const source = readEarlier(document({ tls }), "f.json");
  expect(subjectIn(source, "/a.so").library).toEqual({
    library: "openssl",
    version: "3.0.22",
    match: "exact",
  });
  expect(subjectIn(source, `${two}/b.so`).constants).toEqual({ s: 8 });
  expect(() => subjectIn(source, "/b.so")).toThrow("2 libraries are /b.so");
  expect(() => subjectIn(source, "/c.so")).toThrow(`there are: /a.so, ${one}/b.so, ${two}/b.so`);
  expect(() => subjectIn(source, "kernel")).toThrow("no kernel part");
});

const latitude = (missing: boolean, assumed: boolean) => ({ missing, assumed });

test("what is not known is refused by its name, or left absent; what the subject does not have is none of ours", () => {
  const subject = subjectIn(readEarlier(document({ kernel }), "f.json"), "kernel");
  expect(() => chooseValues(["a", "b"], subject, latitude(false, true))).toThrow(
    "of kernel is not known: b; --allow-missing",
  );
  expect(chooseValues(["a", "b", "c", "z"], subject, latitude(true, true))).toEqual({
    values: new Map([
      ["a", 1n],
      ["b", null],
      ["c", 3n],
    ]),
    assumed: ["c"],
    missing: ["b"],
    set: [],
  });
  // What a person sets is asked for no constant.
  expect(
    chooseValues(
      ["a", "b", "z"],
      subject,
      latitude(false, false),
      new Map([
        ["b", 7n],
        ["z", 8n],
      ]),
    ),
  ).toEqual({
    values: new Map([
      ["a", 1n],
      ["b", 7n],
      ["z", 8n],
    ]),
    assumed: [],
    missing: [],
    set: ["b", "z"],
  });
  expect(chooseValues(["constructor"], subject, latitude(false, false)).values.size).toBe(0);
});

test("a number is written only where its status vouches for it", () => {
  const names = ["confirmed", "single", "assumed", "absent", "conflict", "unresolved"];
  const constants = Object.fromEntries(names.map((name, index) => [name, index]));
  const fields = Object.fromEntries(names.map((name) => [name, field(name)]));
  const subject = subjectIn(readEarlier(document({ kernel: { constants, fields } }), "f.json"), "kernel");
  const { values, missing } = chooseValues(names, subject, latitude(true, false));
  expect([...values].flatMap(([name, value]) => (value === null ? [] : [name]))).toEqual([
    "confirmed",
    "single",
  ]);
  // That a member is not there is known.
  expect(missing).toEqual(["assumed", "conflict", "unresolved"]);
  expect(chooseValues(["absent"], subject, latitude(false, false)).values).toEqual(
    new Map([["absent", null]]),
  );
});
