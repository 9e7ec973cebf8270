import { describe, expect, test } from "bun:test";
import fc from "fast-check";
import { type Evidence, sources, tableMatches } from "../../../src/offsets/evidence.ts";
import { isCertain, judge, refutations, type Verdict } from "../../../src/offsets/truth.ts";

const struct = (...members: string[]) =>
  members.map((name) => ({ constant: name, member: `ssl_st.${name}` }));
const says = (source: Evidence["source"], constant: string, ...candidates: number[]): Evidence => ({
  source,
  constant,
  candidates,
});
const table = (constant: string, ...candidates: number[]): Evidence => ({
  ...says("table", constant, ...candidates),
  match: "exact",
});
const absent = (constant: string): Evidence => ({
  ...table(constant),
  absent: true,
  reason: "no such member",
});

/** The verdict on a field of which alone is spoken. */
function alone(evidence: readonly Evidence[], allow = { assumed: false }): Verdict {
  const verdict = judge(struct("a"), evidence, allow).get("a");
  if (verdict === undefined) throw new Error("no verdict");
  return verdict;
}
const statusesOf = (verdicts: ReadonlyMap<string, Verdict>) =>
  Object.fromEntries([...verdicts].map(([name, { value, status }]) => [name, `${value} ${status}`]));

describe("strong sources", () => {
  test("two that agree confirm; one that speaks alone is single", () => {
    expect(alone([says("guess", "a", 4), says("btf", "a", 4)])).toEqual({
      value: 4,
      member: "ssl_st.a",
      status: "confirmed",
      evidence: { guess: [4], btf: [4] },
    });
    expect(alone([says("btf", "a", 4)])).toMatchObject({ value: 4, status: "single" });
    // The same source twice is one.
    expect(alone([says("code", "a", 4), says("code", "a", 4)])).toMatchObject({ value: 4, status: "single" });
  });

  test("offset 0 is a value like any other", () => {
    expect(alone([says("guess", "a", 0), says("btf", "a", 0)])).toMatchObject({
      value: 0,
      status: "confirmed",
    });
  });

  test("ones that disagree give no number, and both are shown", () => {
    const verdict = alone([says("guess", "a", 4), says("btf", "a", 8)]);
    expect(verdict).toMatchObject({ value: null, status: "conflict", evidence: { guess: [4], btf: [8] } });
    expect(verdict.reason).toContain("disagree");
  });

  test("one that could not tell candidates apart confirms nothing, but may contradict", () => {
    expect(alone([says("guess", "a", 4, 84), says("btf", "a", 4)])).toMatchObject({
      value: 4,
      status: "single",
    });
    expect(alone([says("guess", "a", 6, 84), says("btf", "a", 4)])).toMatchObject({
      value: null,
      status: "conflict",
    });
    expect(alone([says("guess", "a", 4, 84)])).toMatchObject({ value: null, status: "unresolved" });
  });

  test("no evidence is null with every source's reason", () => {
    const silent = { ...says("guess", "a"), reason: "not permitted" };
    expect(alone([silent])).toMatchObject({
      value: null,
      status: "unresolved",
      reason: "guess: not permitted",
    });
    expect(alone([]).reason).toBe("no source speaks of this field");
  });
});

describe("a table", () => {
  test("alone is assumed: no value, its number in the evidence, unless that is allowed", () => {
    expect(alone([table("a", 8)])).toMatchObject({
      value: null,
      status: "assumed",
      evidence: { table: [8] },
    });
    expect(alone([table("a", 8)]).reason).toContain("nothing of ssl_st was measured");
    expect(alone([table("a", 8)], { assumed: true })).toMatchObject({ value: 8, status: "assumed" });
    expect(alone([table("a", 8, 16)], { assumed: true })).toMatchObject({
      value: null,
      status: "unresolved",
    });
  });

  test("that agrees with one measurement confirms it", () => {
    expect(alone([says("code", "a", 8), table("a", 8)])).toMatchObject({ value: 8, status: "confirmed" });
  });

  test("speaks of what lies at or below a measured member that it agrees with, not of what lies beyond", () => {
    const fields = struct("before", "anchor", "behind");
    const evidence = [
      table("before", 8),
      table("anchor", 16),
      table("behind", 24),
      says("code", "anchor", 16),
    ];
    expect(statusesOf(judge(fields, evidence))).toEqual({
      before: "8 single",
      anchor: "16 confirmed",
      behind: "null assumed",
    });
    // A measured member of another struct is no anchor.
    const elsewhere = { constant: "anchor", member: "bio_st.anchor" };
    const others = fields.map((one) => (one.constant === "anchor" ? elsewhere : one));
    expect(statusesOf(judge(others, evidence))).toMatchObject({
      before: "null assumed",
      behind: "null assumed",
    });
  });

  test("of what padding may have let move alone it speaks only before a member that no padding holds in its place", () => {
    const fields = struct("pointer", "bytes", "near", "far");
    const tables = [table("pointer", 8), table("bytes", 20), table("near", 84), table("far", 160)];
    expect(statusesOf(judge(fields, [...tables, says("code", "far", 160)]))).toMatchObject({
      pointer: "8 single",
      bytes: "null assumed",
      near: "null assumed",
    });
    expect(statusesOf(judge(fields, [...tables, says("code", "near", 84)]))).toMatchObject({
      pointer: "8 single",
      bytes: "20 single",
      far: "null assumed",
    });
  });

  test("one measured member that differs silences it for that whole struct, and for no other", () => {
    const fields = [...struct("a", "b", "c", "gone"), { constant: "n", member: "bio_st.n" }];
    const evidence = [
      ...[table("a", 8), table("b", 16), table("c", 24), absent("gone"), table("n", 0)],
      ...[says("code", "a", 8), says("code", "c", 32), says("code", "n", 0)],
    ];
    expect(statusesOf(judge(fields, evidence, { assumed: true }))).toEqual({
      a: "8 single",
      b: "null unresolved",
      c: "32 single",
      gone: "null unresolved",
      n: "0 confirmed",
    });
    expect(judge(fields, evidence).get("b")?.reason).toContain("it says 24 of c, measured was 32");
    expect(refutations(fields, evidence)).toEqual([{ constant: "c", described: 24, measured: [32] }]);
  });

  test("a member that it has not is absent, unless one was measured", () => {
    expect(alone([absent("a")])).toMatchObject({ value: null, status: "absent", reason: "no such member" });
    expect(alone([absent("a"), says("code", "a", 8)])).toMatchObject({ value: 8, status: "single" });
    const [first] = refutations(struct("a"), [absent("a"), says("code", "a", 8)]);
    expect(first).toEqual({ constant: "a", described: null, measured: [8] });
  });

  test("a member that a measurement saw to be missing is absent, whatever a table says of it", () => {
    const gone = { ...says("references", "a"), absent: true, reason: "seen" } as const;
    expect(alone([gone])).toMatchObject({ value: null, status: "absent", reason: "seen" });
    expect(alone([gone, absent("a")])).toMatchObject({ value: null, status: "absent" });
    const evidence = [gone, table("a", 12), table("b", 8)];
    expect(statusesOf(judge(struct("a", "b"), evidence, { assumed: true }))).toEqual({
      a: "null absent",
      b: "null unresolved",
    });
    expect(judge(struct("a", "b"), evidence).get("b")?.reason).toContain("seen was that there is none");
    expect(refutations(struct("a"), evidence)).toEqual([{ constant: "a", described: 12, measured: [] }]);
    const other = alone([gone, says("probe", "a", 12)]);
    expect(other).toMatchObject({ value: null, status: "conflict", evidence: { probe: [12] } });
  });

  test("two strong sources that agree beat it", () => {
    expect(alone([says("code", "a", 0x918), says("probe", "a", 0x918), table("a", 0x938)])).toEqual({
      value: 0x918,
      member: "ssl_st.a",
      status: "confirmed",
      evidence: { code: [0x918], probe: [0x918], table: [0x938] },
    });
  });

  test("one strong source stands against it alone", () => {
    expect(alone([says("code", "a", 0x918), table("a", 0x938)])).toMatchObject({
      value: 0x918,
      status: "single",
    });
  });

  test("what a strong source left open it decides only where it is anchored", () => {
    const fields = struct("a", "anchor");
    const evidence = [table("a", 8), table("anchor", 16), says("probe", "a", 8, 12)];
    expect(statusesOf(judge(fields, evidence))).toMatchObject({ a: "null unresolved" });
    expect(statusesOf(judge(fields, [...evidence, says("code", "anchor", 16)]))).toMatchObject({
      a: "8 single",
    });
    // Places without the table's number refute it.
    const others = [
      table("a", 8),
      table("anchor", 16),
      says("probe", "a", 4, 12),
      says("code", "anchor", 16),
    ];
    expect(statusesOf(judge(fields, others))).toMatchObject({ a: "null unresolved", anchor: "16 single" });
  });

  test("a disputed figure is shown, and neither told, nor believed, nor an anchor", () => {
    const fields = struct("a", "b");
    const disputed = { ...table("b", 16), disputed: "builds differ" };
    expect(statusesOf(judge(fields, [table("a", 8), disputed], { assumed: true }))).toEqual({
      a: "8 assumed",
      b: "null unresolved",
    });
    const measured = judge(fields, [table("a", 8), disputed, says("code", "b", 16)]);
    expect(statusesOf(measured)).toEqual({ a: "null assumed", b: "16 single" });
  });
});

const evidence = fc.array(
  fc.record(
    {
      source: fc.constantFrom(...sources),
      constant: fc.constantFrom("a", "b"),
      candidates: fc.uniqueArray(fc.integer({ min: 0, max: 5 }), { maxLength: 3 }),
      match: fc.constantFrom(...tableMatches),
      disputed: fc.constant("builds differ"),
    },
    { requiredKeys: ["source", "constant", "candidates"] },
  ),
  { maxLength: 8 },
);

test("whatever is said: a value is one that no strong source denies, and no value has no reason", () => {
  fc.assert(
    fc.property(evidence, fc.boolean(), (all, assumed) => {
      const once = [...new Map(all.map((one) => [`${one.source} ${one.constant}`, one])).values()];
      for (const [constant, verdict] of judge(struct("a", "b"), once, { assumed })) {
        const said = once.filter((one) => one.constant === constant && one.candidates.length > 0);
        if (verdict.value === null) {
          expect(verdict.reason).toBeTruthy();
          expect(["confirmed", "single"]).not.toContain(verdict.status);
        } else {
          expect(verdict.status === "assumed" ? assumed : isCertain(verdict)).toBe(true);
          for (const { source, candidates } of said)
            if (source !== "table") expect(candidates).toContain(verdict.value);
        }
      }
    }),
  );
});

/** Members of one struct, eight bytes or more, of which a build may leave some out. */
const builds = fc.array(
  fc.record({
    words: fc.integer({ min: 1, max: 8 }),
    isOptional: fc.boolean(),
    isLeftOut: fc.boolean(),
    isMeasured: fc.boolean(),
  }),
  { minLength: 1, maxLength: 12 },
);

test("whatever a build leaves out of a struct: no number is wrong that is told", () => {
  fc.assert(
    fc.property(builds, (members) => {
      const fields = struct(...members.map((_, index) => `m${index}`));
      const truth = new Map<string, number>();
      const all: Evidence[] = [];
      let [described, real] = [0, 0];
      for (const [index, { words, isOptional, isLeftOut, isMeasured }] of members.entries()) {
        const name = `m${index}`;
        const isThere = !(isOptional && isLeftOut);
        all.push(table(name, described));
        if (isThere) truth.set(name, real);
        if (isThere && isMeasured) all.push(says("code", name, real));
        described += words * 8;
        if (isThere) real += words * 8;
      }
      for (const [name, { value }] of judge(fields, all)) {
        // What is not there at all no one asks for: it is between members that are where the table says.
        if (value !== null && truth.has(name)) expect([name, value]).toEqual([name, truth.get(name) ?? -1]);
      }
    }),
    { numRuns: 1000 },
  );
});
