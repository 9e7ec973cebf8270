import { afterAll, describe, expect, test } from "bun:test";
import { createHash } from "node:crypto";
import { appendFileSync, mkdtempSync, renameSync, rmSync, truncateSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import fc from "fast-check";
import { digestsIn, KeyLog, largestGain } from "../../../src/verify/key-log-file.ts";

const sum = (hex: string): string => createHash("sha256").update(Buffer.from(hex, "hex")).digest("hex");
const [A, B] = ["0a".repeat(32), "b0".repeat(32)];
const [short, long, key] = ["c1".repeat(32), "d2".repeat(48), "e3".repeat(48)];
const digests = (text: string) => digestsIn(new TextEncoder().encode(text));

describe("the NSS key log format", () => {
  test("labels and secrets by the client's random, whatever else is between", () => {
    const text = `# a comment\nCLIENT_TRAFFIC_SECRET_0 ${A} ${short}\nCLIENT_RANDOM ${B} ${key}\r\n\nEXPORTER_SECRET ${A} ${long}\n`;
    expect(digests(text)).toEqual(
      new Map([
        [
          A,
          new Map([
            ["CLIENT_TRAFFIC_SECRET_0", sum(short)],
            ["EXPORTER_SECRET", sum(long)],
          ]),
        ],
        [B, new Map([["CLIENT_RANDOM", sum(key)]])],
      ]),
    );
  });

  test("hex in capitals is the same", () => {
    const text = `CLIENT_RANDOM ${B} ${key}\n`;
    expect(digests(text.toUpperCase())).toEqual(digests(text));
  });

  test.each([
    ["is still being written", `CLIENT_RANDOM ${A} ${key}`],
    ["has a random that is too short", `CLIENT_RANDOM ${A.slice(2)} ${key}\n`],
    ["has a secret that is too short", `CLIENT_RANDOM ${A} ${key.slice(0, 62)}\n`],
    ["has a secret that is too long", `CLIENT_RANDOM ${A} ${"ab".repeat(65)}\n`],
    ["has half a byte", `CLIENT_RANDOM ${A} ${key}a\n`],
    ["has no hex", `CLIENT_RANDOM ${A} ${key.slice(1)}g\n`],
    ["has a word too many", `CLIENT_RANDOM ${A} ${A} ${key}\n`],
    ["has no label", ` ${A} ${key}\n`],
    ["has a label that is too long", `${"L".repeat(41)} ${A} ${key}\n`],
    ["is RSA's", `RSA ${A.slice(0, 16)} ${key}\n`],
  ])("a line that %s is passed over", (_, line) => {
    expect(digests(line).size).toBe(0);
  });

  test("no bytes are too strange", () => {
    const line = Buffer.from(`\nCLIENT_RANDOM ${A} ${key}\n`);
    fc.assert(
      fc.property(fc.uint8Array({ maxLength: 300 }), (bytes) => {
        expect(
          digestsIn(Buffer.concat([bytes, line]))
            .get(A)
            ?.get("CLIENT_RANDOM"),
        ).toBe(sum(key));
      }),
    );
  });
});

describe("what is added to a key log", () => {
  const folder = mkdtempSync(join(tmpdir(), "offsetof-keylog-"));
  const path = join(folder, "keys");
  afterAll(() => rmSync(folder, { recursive: true }));
  const digestsOf = (log: KeyLog) => {
    using added = log.added();
    return added.digests();
  };
  const lineOf = (random: string) => `CLIENT_RANDOM ${random} ${key}\n`;

  test("is read, and not what was there before", () => {
    writeFileSync(path, lineOf(A));
    const log = new KeyLog(path);
    expect(digestsOf(log).size).toBe(0);
    appendFileSync(path, lineOf(B));
    expect([...digestsOf(log).keys()]).toEqual([B]);
  });

  test("until now: what comes later is left aside", () => {
    writeFileSync(path, "");
    const log = new KeyLog(path);
    using added = log.added();
    appendFileSync(path, lineOf(A));
    expect(added.digests().size).toBe(0);
    expect(digestsOf(log).size).toBe(1);
  });

  test("to one that is cut short or replaced is all that is in it", () => {
    writeFileSync(path, lineOf(A) + lineOf(A));
    const log = new KeyLog(path);
    truncateSync(path, 0);
    appendFileSync(path, lineOf(B));
    expect([...digestsOf(log).keys()]).toEqual([B]);
    writeFileSync(`${path}.new`, lineOf(A) + lineOf(A) + lineOf(B));
    renameSync(`${path}.new`, path);
    expect([...digestsOf(log).keys()]).toEqual([A, B]);
  });

  test("may be no more than what is bounded, before it is read", () => {
    writeFileSync(path, "");
    const log = new KeyLog(path);
    truncateSync(path, largestGain + 1);
    expect(() => digestsOf(log)).toThrow(path);
    rmSync(path);
    expect(() => digestsOf(log)).toThrow("ENOENT");
    expect(() => new KeyLog(folder)).toThrow("not a regular file");
  });
});
