import { expect, test } from "bun:test";
import fc from "fast-check";
import { answerBatch } from "../../../src/gateway/batch.ts";
import { bytesOf } from "../../../src/input/name.ts";

const way = {
  ...{ netns: 1, route: "local" as const, gateway: null, interface: null, subnet: null },
  reasons: {},
};

/** What a batch looks up and prints. @param input in the pieces in which it comes */
async function batched(input: readonly Uint8Array[]) {
  const namespaces: (string | undefined)[] = [];
  let printed = "";
  const chunks = (async function* () {
    yield* input;
  })();
  const lookup = {
    expect: () => {},
    way: (_: unknown, netns: string | undefined) => {
      namespaces.push(netns);
      return way;
    },
  };
  await answerBatch(chunks, lookup, async (text) => {
    printed += text;
    return true;
  });
  const lines = printed.split("\n").slice(0, -1);
  return { namespaces, lines: lines.map((line): { line: number; code?: string } => JSON.parse(line)) };
}

test("lines are of any bytes, and the same in whatever pieces they come", async () => {
  // Letters, spaces, and bytes that begin, go on with or break off a longer character.
  const byte = fc.constantFrom(0x2f, 0x61, 0x20, 0x25, 0xc3, 0xa9, 0xe2, 0x82, 0xac, 0xf0, 0x9f, 0xff);
  const path = fc.array(byte, { maxLength: 8 }).map((bytes) => Buffer.from([0x2f, ...bytes, 0x2f]));
  const line = fc.option(path);
  await fc.assert(
    fc.asyncProperty(fc.array(line, { maxLength: 20 }), fc.array(fc.nat(40)), async (paths, cuts) => {
      const asked = Buffer.from("0.0.0.0 192.0.2.1 ");
      const all = Buffer.concat(
        paths
          .flatMap((one) => [one === null ? "" : Buffer.concat([asked, one]), "\n"])
          .map((each) => Buffer.from(each)),
      );
      let rest = all;
      const pieces = cuts.map((cut) => {
        const piece = rest.subarray(0, cut);
        rest = rest.subarray(cut);
        return piece;
      });
      const { namespaces, lines } = await batched([...pieces, rest]);
      const kept = paths.filter((one) => one !== null);
      expect(namespaces.map((name) => bytesOf(name ?? "").toString("hex"))).toEqual(
        kept.map((one) => one.toString("hex")),
      );
      const numbers = paths.flatMap((one, index) => (one === null ? [] : [index + 1]));
      expect(lines.map((each) => each.line)).toEqual(numbers);
    }),
  );
});

test.each(["/", "\xc3\xa9", "\xff"])("a line is as long as its bytes: of %j", async (unit) => {
  const asked = Buffer.from("0.0.0.0 192.0.2.1 /");
  const character = Buffer.from(unit, "latin1");
  const longest = 4352;
  for (const over of [0, 1]) {
    const count = Math.floor((longest - asked.length) / character.length) + over;
    const line = Buffer.concat([asked, Buffer.concat(Array.from({ length: count }, () => character))]);
    const input = Buffer.concat([line, Buffer.from("\n0.0.0.0 192.0.2.2\n")]);
    for (const pieces of [[input], [input.subarray(0, 4000), input.subarray(4000)]]) {
      const { lines } = await batched(pieces);
      expect(lines.map(({ code }) => code)).toEqual([over === 0 ? undefined : "E_LINE", undefined]);
    }
  }
});
