import { describe, expect, test } from "bun:test";
import fc from "fast-check";
import { type Evidence, sources, tableMatches } from "../../../src/offsets/evidence.ts";
import { isCertain, reconcile } from "../../../src/offsets/reconcile.ts";

const field = { constant: "offset_saddr", member: "sock_common.skc_rcv_saddr" };
const says = (source: Evidence["source"], ...candidates: number[]): Evidence => ({
  source,
  constant: field.constant,
  candidates,
});

describe("reconcile", () => {
  test("two sources that agree, one of them strong, confirm", () => {
    expect(reconcile(field, [says("guess", 4), says("btf", 4)])).toEqual({
      value: 4,
      member: field.member,
      status: "confirmed",
      evidence: { guess: [4], btf: [4] },
    });
    expect(reconcile(field, [says("probe", 8), { ...says("table", 8), match: "nearest" }]).status).toBe(
      "confirmed",
    );
  });

  test("offset 0 is a value like any other", () => {
    expect(reconcile(field, [says("guess", 0), says("btf", 0)])).toMatchObject({
      value: 0,
      status: "confirmed",
    });
  });

  test("strong sources that disagree give no number, and both are shown", () => {
    const verdict = reconcile(field, [says("guess", 4), says("btf", 8)]);
    expect(verdict).toMatchObject({ value: null, status: "conflict", evidence: { guess: [4], btf: [8] } });
    expect(verdict.reason).toContain("disagree");
  });

  test("a source that could not tell candidates apart confirms nothing, but may contradict", () => {
    expect(reconcile(field, [says("guess", 4, 84), says("btf", 4)])).toMatchObject({
      value: 4,
      status: "single",
    });
    expect(reconcile(field, [says("guess", 6, 84), says("btf", 4)])).toMatchObject({
      value: null,
      status: "conflict",
    });
    expect(reconcile(field, [says("guess", 4, 84)])).toMatchObject({ value: null, status: "unresolved" });
  });

  test("a measured value stands against a table, and the conflict shows", () => {
    const verdict = reconcile(field, [says("code", 0x918), { ...says("table", 0x938), match: "exact" }]);
    expect(verdict).toMatchObject({
      value: 0x918,
      status: "conflict",
      evidence: { code: [0x918], table: [0x938] },
    });
  });

  test("a table alone is certain only when it matches exactly", () => {
    const table = (match: Evidence["match"]): Evidence => ({ ...says("table", 8), ...(match && { match }) });
    expect(reconcile(field, [table("exact")])).toMatchObject({ value: 8, status: "single" });
    expect(reconcile(field, [table("nearest")])).toMatchObject({ value: 8, status: "assumed" });
    expect(reconcile(field, [table("default")])).toMatchObject({ value: 8, status: "assumed" });
    const two = { ...table("exact"), candidates: [8, 16] };
    expect(reconcile(field, [two])).toMatchObject({ value: null, status: "unresolved" });
  });

  test("no evidence is null with every source's reason", () => {
    const silent = { ...says("guess"), reason: "not permitted" };
    expect(reconcile(field, [silent])).toMatchObject({
      value: null,
      status: "unresolved",
      reason: "guess: not permitted",
    });
    expect(reconcile(field, []).reason).toBe("no source speaks of this field");
  });

  const evidence = fc.array(
    fc.record({
      source: fc.constantFrom(...sources),
      constant: fc.constant(field.constant),
      candidates: fc.uniqueArray(fc.integer({ min: 0, max: 5 }), { maxLength: 3 }),
      match: fc.constantFrom(...tableMatches),
    }),
    { maxLength: 5 },
  );

  test("whatever is said: a certain value is one that no strong source denies, and no value has no reason", () => {
    fc.assert(
      fc.property(evidence, (all) => {
        const oneEach = [...new Map(all.map((one) => [one.source, one])).values()];
        const verdict = reconcile(field, oneEach);
        if (isCertain(verdict)) {
          expect(verdict.value).not.toBeNull();
          for (const one of oneEach) {
            if (one.candidates.length > 0) expect(one.candidates).toContain(verdict.value ?? -1);
          }
        } else {
          expect(verdict.reason).toBeTruthy();
        }
        if (verdict.status === "unresolved") expect(verdict.value).toBeNull();
      }),
    );
  });
});
