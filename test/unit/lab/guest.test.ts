import { expect, test } from "bun:test";
import { readFrames, text } from "../../lab/guest.ts";

const WHOLE = "begin 2.10\nend 3.60 7 6 4\nend\n1\nerr\nbegin 3.70\nend 3.70 0 0 0\ndone\n";

function frames(stream: string) {
  return readFrames(new TextEncoder().encode(stream));
}

test("results are read by their sizes, whatever bytes are in them", () => {
  const { complete, bootSeconds, results } = frames(WHOLE);
  expect({ complete, bootSeconds }).toEqual({ complete: true, bootSeconds: 2.1 });
  expect(results.map(({ status }) => status)).toEqual([7, 0]);
  expect(results.map(({ stdout }) => text(stdout))).toEqual(["end\n1\n", ""]);
  expect(results.map(({ stderr }) => text(stderr))).toEqual(["err\n", ""]);
  expect(results[0]?.seconds).toBeCloseTo(1.5);
});

test("a stream cut anywhere is incomplete and holds only whole results", () => {
  const whole = frames(WHOLE).results;
  for (let length = 0; length < WHOLE.length; length++) {
    const { complete, started, results } = frames(WHOLE.slice(0, length));
    expect(complete).toBe(false);
    expect(started).toBe(length >= "begin 2.10\n".length);
    expect(results).toEqual(whole.slice(0, results.length));
  }
});
