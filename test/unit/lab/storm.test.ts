import { expect, test } from "bun:test";
import { formatVersion } from "../../../src/output/schema-parts.ts";
import { answersOf, knownIn, over, printed, verdictOf } from "../../storm/answers.ts";

const documentOf = (constants: Record<string, number | null>) => ({
  format_version: formatVersion,
  tool: { name: "offsetof", version: "0.1.0", arch: "x64", libc: "glibc" },
  host: {
    kernel: { release: "6.1.0", version: [6, 1, 0], distro: null, machine: "x86_64" },
    lockdown: null,
    btf: false,
    kprobes: true,
    raw_tracepoints: true,
    tracefs: false,
    privileges: [],
  },
  kernel: {
    bytecode: null,
    strategy: null,
    attached: [],
    events: 0,
    duration_ms: 1,
    constants,
    fields: {},
  },
  diagnostics: [],
});

test("a shell tells the answers apart by their constants, and keeps what was said in place of a document", () => {
  const text = (constants: Record<string, number | null>) =>
    JSON.stringify(documentOf(constants), null, 2).replaceAll("'", "");
  const command = `case $n in 0|2|3) echo '${text({ offset_rtt: 8 })}';; 1) echo '${text({ offset_rtt: null })}';; *) echo 'no kernel' >&2;; esac`;
  const { stdout } = Bun.spawnSync(["sh", "-c", over(6, command)]);
  const answers = answersOf(stdout.toString()).toSorted((a, b) => b.count - a.count);
  expect(answers.map(({ count, constants }) => [count, constants])).toEqual([
    [3, { offset_rtt: 8 }],
    [2, undefined],
    [1, { offset_rtt: null }],
  ]);
  expect(answers[1]?.text).toBe("no kernel\n");
});

test("a number that is not the truth is wrong, a null only of what is known elsewhere", () => {
  const constants = { offset_rtt: 8, offset_ino: null, offset_saddr: null };
  const [answer] = answersOf(printed([{ count: 7, text: JSON.stringify(documentOf(constants)) }]));
  if (answer === undefined) throw new Error("no answer");
  expect(answer.count).toBe(7);
  const truth = { offset_rtt: 8, offset_ino: 16, offset_saddr: 4 };
  expect(verdictOf(answer, truth, ["offset_rtt", "offset_ino"])).toEqual({
    wrong: [],
    nulls: ["offset_ino"],
    failed: false,
  });
  expect(verdictOf(answer, { ...truth, offset_rtt: 16 }, []).wrong).toEqual(["offset_rtt"]);
  // What the kernel lacks is wrong with any number.
  expect(verdictOf(answer, { offset_rtt: null }, []).wrong).toEqual(["offset_rtt"]);
  expect(knownIn([answer])).toEqual(["offset_rtt"]);
  expect(verdictOf({ count: 1, text: "no kernel" }, truth, ["offset_rtt"]).failed).toBe(true);
});

test("anything else than answers is refused", () => {
  expect(() => answersOf("sh: not found")).toThrow("sh: not found");
});
