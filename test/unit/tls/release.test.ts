import { describe, expect, test } from "bun:test";
import fc from "fast-check";
import { compareReleases, parseRelease, type Release, seriesOf } from "../../../src/tls/layouts/release.ts";

const release = (text: string): Release => {
  const parsed = parseRelease(text);
  if (parsed === null) throw new Error(`${text} is no release`);
  return parsed;
};

describe("releases", () => {
  test("are in the order they were published in", () => {
    const order = [
      "0.9.8zh",
      "1.0.2",
      "1.0.2a",
      "1.0.2z",
      "1.0.2za",
      "1.0.2zg",
      "1.1.0l",
      "1.1.1-pre9",
      "1.1.1",
      "1.1.1a",
      "1.1.1w",
      "3.0.0-alpha17",
      "3.0.0",
      "3.0.9",
      "3.0.10",
      "3.2.1",
      "3.2.10",
      "3.10.0",
      "4.0.0-beta1",
      "4.0.0",
    ];
    const shuffled = [...order].sort();
    expect(shuffled).not.toEqual(order);
    expect(shuffled.sort((a, b) => compareReleases(release(a), release(b)))).toEqual(order);
  });

  test("a vendor's suffix does not count, and is kept", () => {
    for (const text of ["1.1.1v+quic", "1.1.1v-fips", "1.1.1v FIPS"]) {
      expect(compareReleases(release(text), release("1.1.1v"))).toBe(0);
      expect(`1.1.1v${release(text).suffix}`).toBe(text);
    }
  });

  test("comparing is the same both ways round", () => {
    const any = fc
      .tuple(
        fc.nat(5),
        fc.nat(20),
        fc.nat(20),
        fc.stringMatching(/^[a-z]{0,2}$/),
        fc.constantFrom("", "-dev", "+quic"),
      )
      .map(([major, minor, patch, letters, suffix]) =>
        release(`${major}.${minor}.${patch}${letters}${suffix}`),
      );
    fc.assert(
      fc.property(any, any, (a, b) => {
        expect(Math.sign(compareReleases(a, b)) + Math.sign(compareReleases(b, a))).toBe(0);
      }),
    );
  });

  test("series", () => {
    expect(["1.0.2zg", "1.1.1", "3.0.22", "3.10.1", "4.0.0"].map((text) => seriesOf(release(text)))).toEqual([
      "1.0.2",
      "1.1.1",
      "3.0",
      "3.10",
      "4.0",
    ]);
  });

  test.each(["", "3", "3.0", "3.0.x", "v3.0.1", "1.1.1abc", "3.0.1_1", "99999.0.0", "3.0.1.2"])(
    "%p is none",
    (text) => expect(parseRelease(text)).toBeNull(),
  );
});
