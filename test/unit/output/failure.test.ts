import { expect, test } from "bun:test";
import { asFailure, Failure, failureText } from "../../../src/output/failure.ts";
import { jsonOf } from "../../schema.ts";

test("a failure stays itself, an error becomes one, and a defect says so", () => {
  const own = new Failure("E_USAGE", "no such flag", "usage");
  expect(asFailure(own)).toBe(own);
  expect(asFailure(new Error("it is full"))).toMatchObject({
    code: "E_FAILED",
    message: "it is full",
    kind: "failed",
  });
  expect(asFailure(new TypeError("x is undefined")).message).toStartWith("x is undefined; this is a defect");
});

test("as JSON it is the published object, as text one line that a terminal shows as it is", () => {
  const failure = new Failure("E_CONFIG", 'a "quoted"\nline\x1b[2J', "usage");
  expect(jsonOf("error", failureText(failure, "json"))).toEqual({
    code: "E_CONFIG",
    message: failure.message,
  });
  expect(failureText(failure, "table")).toBe('offsetof: a "quoted"\\x0aline\\x1b[2J');
});

test.each([
  { thrown: new RangeError("Out of memory"), code: "E_NO_MEMORY" },
  { thrown: new Error("Failed to spawn worker thread"), code: "E_NO_TASK" },
])("what the runtime throws for $code is no defect of ours, but not possible here", ({ thrown, code }) => {
  const failure = asFailure(thrown);
  expect([failure.code, failure.kind]).toEqual([code, "impossible"]);
  expect(failure.message).not.toContain("defect");
  expect(failure.message).toContain("allow");
});
