import { describe, expect, test } from "bun:test";
import { parseMaps, pathsOf } from "../../../src/tls/find/maps.ts";

const line = (path: string, permissions = "r-xp", inode = "260875") =>
  `00400000-0040b000 ${permissions} 00002000 fe:00 ${inode}                     ${path}`;

describe("maps", () => {
  test("tell executable mappings of files, by the name of map_files", () => {
    expect(parseMaps(`${line("/usr/bin/a b")}\n`)).toEqual([
      { range: "400000-40b000", device: "fe:00", inode: "260875", path: "/usr/bin/a b" },
    ]);
  });

  test.each([
    line("/usr/lib/locale-archive", "r--p"),
    line("[vdso]"),
    line("[vdso]", "r-xp", "0"),
    line("/nothing", "r-xp", "0"),
    line("anon_inode:[perf_event]"),
    "00400000-0040b000 r-xp 00002000 00:00 0 ",
    "",
    "garbage",
  ])("%p is none", (text) => expect(parseMaps(text)).toEqual([]));

  test.each(["\r", "\u2028", "\u2029", "\u0085", "\v"])(
    "%p in a path does not begin a line: a process cannot make up mappings",
    (separator) => {
      const path = `/tmp/x${separator}${line("/usr/lib/libssl.so.3")}`;
      expect(parseMaps(line(path)).map((one) => one.path)).toEqual([path]);
    },
  );

  test("a path may end in what the kernel adds, or hold what it escapes", () => {
    expect(pathsOf("/a").map((one) => one.path)).toEqual(["/a"]);
    expect(pathsOf("/a\\012b (deleted)")).toEqual([
      { path: "/a\\012b (deleted)", deleted: false },
      { path: "/a\nb (deleted)", deleted: false },
      { path: "/a\nb", deleted: true },
    ]);
  });

  test("there may be a million lines", () => {
    const lines = 1_000_000;
    expect(parseMaps(`${line("/usr/lib/x".repeat(6))}\n`.repeat(lines)).length).toBe(lines);
  });
});
