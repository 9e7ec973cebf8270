/** `explain`: the same truth as the document, witness by witness. */
import { expect, test } from "bun:test";
import * as v from "valibot";
import { explainedSchema } from "../../src/output/explain-schema.ts";
import { jsonOf } from "../schema.ts";
import { documentOf, errorOf, executable, run } from "./executable.ts";

const LIBRARY = "/usr/lib/x86_64-linux-gnu/libssl.so.3";
const explained = (...args: string[]) => {
  const result = run([executable, "explain", ...args, "--format", "json"]);
  return { status: result.status, ...v.parse(explainedSchema, jsonOf("explain", result.stdout)) };
};

test("a library's constant: value, status and each witness are the document's", () => {
  const [library] = documentOf(run([executable, "tls", LIBRARY, "--format", "json"])).tls ?? [];
  const name = "SSL_SESSION_ST_MASTER_KEY";
  const { status, explain } = explained(name, LIBRARY);
  const field = library?.fields[name];
  expect(status).toBe(0);
  expect(explain).toEqual([
    expect.objectContaining({
      constant: name,
      value: field?.value,
      status: field?.status,
      member: field?.member,
    }),
  ]);
  const told = explain[0]?.evidence.map(({ source, numbers }) => [source, numbers]) ?? [];
  expect(Object.fromEntries(told)).toEqual(field?.evidence);
  const [read] = explained("SSL_read", LIBRARY).explain;
  expect(read).toMatchObject({ value: library?.functions.SSL_read?.offset ?? -1, member: null });
});

test("what is not known has its reason, exit 3; a kernel's constant and a member are explained too", () => {
  const { status, explain } = explained("foo.bar");
  expect([status, explain[0]?.value, explain[0]?.status]).toEqual([3, null, "unresolved"]);
  expect(explain[0]?.reason).toContain("no struct or union foo");
  const text = run([executable, "explain", "offset_family", "--source", "btf", "--format", "table"]);
  expect(text.stdout).toMatch(/^offset_family = 16 {2}bytes to sock_common\.skc_family\nof Linux /);
  expect(text.stdout).toMatch(/^btf +16 {2}the kernel's own type information/m);
});

test("what it cannot explain, it says", () => {
  for (const [args, words] of [
    [[], "NAME"],
    [["offset_ct"], "did you mean"],
    [["offset_rtt", LIBRARY], "takes no PATH"],
  ] as const) {
    const result = run([executable, "explain", ...args, "--format", "json"]);
    expect([result.status, errorOf(result).code]).toEqual([2, "E_USAGE"]);
    expect(errorOf(result).message).toContain(words);
  }
  const none = run([executable, "explain", "SSL_read", "/bin/true", "--format", "json"]);
  expect(none.status).toBe(3);
  expect(none.stderr).toContain("SSL_read");
});
