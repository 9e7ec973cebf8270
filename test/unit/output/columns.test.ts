import { expect, test } from "bun:test";
import fc from "fast-check";
import { colours, columns } from "../../../src/output/columns.ts";

const narrow = (width: number) => ({ screen: { colour: false, width } });
const reason =
  "kprobe:tcp_getsockopt: the kernel was built without CONFIG_KPROBES, so nothing can be attached there";

test("cells of a column are equally wide, numbers stand to the right, wide characters count twice", () => {
  const rows = [
    ["NAME", "BYTES", "WHY"],
    ["a", "7", "x"],
    ["日本", "1024", ""],
  ];
  expect(columns(rows, { right: [1] })).toEqual(["NAME  BYTES  WHY", "a         7  x", "日本   1024"]);
});

test("where a line ends, the last cell goes on below itself", () => {
  const [row] = columns([["offset_rtt", reason]], narrow(60));
  const lines = row?.split("\n") ?? [];
  expect(lines.length).toBeGreaterThan(1);
  for (const [at, line] of lines.entries()) {
    expect(line.length).toBeLessThanOrEqual(60);
    if (at > 0) expect(line).toMatch(/^ {12}\S/);
  }
  expect(lines.map((line) => line.replace("offset_rtt", "").trim()).join(" ")).toBe(reason);
});

test("where the others leave it no room, its text stands below them all", () => {
  const rows = [
    ["CONSTANT", "MEMBER", "REASON"],
    ["offset_sk_buff_transport_header", "sk_buff.transport_header", reason],
  ];
  const [header, row] = columns(rows, narrow(70));
  expect(header).toBe("CONSTANT                         MEMBER\n    REASON");
  const [first, ...more] = row?.split("\n") ?? [];
  expect(first).toBe("offset_sk_buff_transport_header  sk_buff.transport_header");
  expect(more.every((line) => /^ {4}\S/.test(line) && line.length <= 70)).toBe(true);
  expect(more.map((line) => line.trim()).join(" ")).toBe(reason);
});

test("a cell that would end beyond the screen stands below its row, and those that fit stay where they are", () => {
  const rows = [
    ["CONSTANT", "OFFSET", "STATUS", "MEMBER", "REASON"],
    [
      "BSSL__SSL3_STATE_CLIENT_TRAFFIC_SECRET_0",
      "337",
      "single",
      "bssl::SSL3_STATE.client_traffic_secret_0",
      "",
    ],
    ["SSL_ST_RBIO", "16", "single", "ssl_st.rbio", ""],
  ];
  expect(columns(rows, { ...narrow(80), right: [1] }).map((row) => row.split("\n"))).toEqual([
    ["CONSTANT                                  OFFSET  STATUS  MEMBER", "    REASON"],
    [
      "BSSL__SSL3_STATE_CLIENT_TRAFFIC_SECRET_0     337  single",
      "    bssl::SSL3_STATE.client_traffic_secret_0",
    ],
    ["SSL_ST_RBIO                                   16  single  ssl_st.rbio"],
  ]);
});

test("no width loses a word, and nothing but a longer word is wider", () => {
  const word = fc.stringMatching(/^[a-z]{1,30}$/);
  const cell = fc.array(word, { maxLength: 12 }).map((words) => words.join(" "));
  const rows = fc.array(fc.tuple(word, word, word, cell), { minLength: 1, maxLength: 6 });
  fc.assert(
    fc.property(rows, fc.integer({ min: 20, max: 120 }), (table, width) => {
      const text = columns(table, narrow(width));
      for (const [at, cells] of table.entries()) {
        const words = (text[at] ?? "").split(/\s+/).filter(Boolean);
        expect(words).toEqual(cells.flatMap((each) => each.split(" ")).filter(Boolean));
        for (const line of text[at]?.split("\n") ?? [])
          if (line.trim().includes(" ")) expect(line.length).toBeLessThanOrEqual(width);
      }
    }),
  );
});

test("a colour takes no column, and what a cell would have the terminal obey is shown", () => {
  const rows = [[{ text: "held", colour: colours.green }, "\x1b[2J"]];
  expect(columns(rows, { screen: { colour: true, width: 80 } })).toEqual(["\x1b[32mheld\x1b[39m  \\x1b[2J"]);
  expect(columns(rows)).toEqual(["held  \\x1b[2J"]);
});
