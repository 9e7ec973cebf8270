import { expect, test } from "bun:test";
import { readFileSync } from "node:fs";
import { ladder } from "../../../src/kernel/fields/ladder.ts";
import { kernelSymbols, splitNames, symbolsHere } from "../../../src/kernel/running/kallsyms.ts";

test("the pieces of a function are found, the ones nearest to the whole first, and nothing else", () => {
  const kallsyms = `ffffffff81000000 t tcp_getsockopt.part.0
ffffffff81000010 t tcp_getsockopt.isra.7
ffffffff81000020 t tcp_getsockopt.constprop.0.isra.0
ffffffff81000030 t do_tcp_getsockopt.constprop.0
ffffffff81000040 d tcp_getsockopt.isra.1
ffffffff81000050 t tcp_getsockopt.cold
ffffffff81000060 T tcp_getsockopt_locked
ffffffffc0000000 t nf_conntrack_hash_check_insert.isra.0\t[nf_conntrack]
ffffffff81000070 t tcp_getsockopt.part.0`;
  expect(splitNames(kallsyms, "tcp_getsockopt")).toEqual([
    "tcp_getsockopt.constprop.0.isra.0",
    "tcp_getsockopt.isra.7",
    "tcp_getsockopt.part.0",
  ]);
  expect(splitNames(kallsyms, "nf_conntrack_hash_check_insert")).toEqual([
    "nf_conntrack_hash_check_insert.isra.0",
  ]);
  expect(splitNames(kallsyms, "absent")).toEqual([]);
  expect(splitNames("", "tcp_getsockopt")).toEqual([]);
});

test("in this kernel's own symbols each split function is found by its name, as grep finds them", () => {
  const names = Bun.spawnSync([
    "grep",
    "-oE",
    " [tT] [a-zA-Z0-9_]+\\.(constprop|isra|part)\\.[0-9]+",
    "/proc/kallsyms",
  ]);
  const pieces = names.stdout
    .toString()
    .trim()
    .split("\n")
    .map((line) => line.trim().slice(2));
  expect(pieces.length).toBeGreaterThan(10);
  const kallsyms = readFileSync("/proc/kallsyms", "latin1");
  for (const piece of pieces.slice(0, 50)) {
    expect(splitNames(kallsyms, piece.slice(0, piece.indexOf(".")))).toContain(piece);
  }
});

test("functions and tracepoints are told by their symbols, and unknown without any", () => {
  const symbols = kernelSymbols(`0000000000000000 T tcp_getsockopt
0000000000000000 d tcp_setsockopt
0000000000000000 t tcp_v6_connect.part.0
0000000000000000 t nf_conntrack_hash_check_insert\t[nf_conntrack]
0000000000000000 T __traceiter_tcp_probe
0000000000000000 D __tracepoint_net_dev_queue`);
  const functions = [
    "tcp_getsockopt",
    "tcp_v6_connect",
    "nf_conntrack_hash_check_insert",
    "tcp_setsockopt",
    "tcp_get",
  ];
  expect(functions.map((name) => symbols.hasFunction(name))).toEqual([true, true, true, false, false]);
  const tracepoints = ["tcp_probe", "net_dev_queue", "net_dev", "tcp_getsockopt"];
  expect(tracepoints.map((name) => symbols.hasTracepoint(name))).toEqual([true, true, false, false]);
  const none = kernelSymbols("");
  expect([none.hasFunction("tcp_getsockopt"), none.hasTracepoint("tcp_probe")]).toEqual([null, null]);
  // Linux before 5.10 without KALLSYMS_ALL has functions alone.
  expect(kernelSymbols("0 T tcp_getsockopt").hasTracepoint("tcp_probe")).toBeNull();
});

test("this kernel has the functions and tracepoints that its symbols name, whether its BTF does or not", () => {
  const told = kernelSymbols(readFileSync("/proc/kallsyms", "latin1"));
  const here = symbolsHere();
  const functions = ladder.filter(({ kind }) => kind === "kprobe").map(({ target }) => target);
  for (const name of [...functions, "ctnetlink_new_conntrack", "_stext", "no_such_function"])
    expect([name, here.hasFunction(name)]).toEqual([name, told.hasFunction(name)]);
  const tracepoints = ladder.filter(({ kind }) => kind === "raw_tp").map(({ target }) => target);
  for (const name of [...tracepoints, "tcp_getsockopt", "no_such_tracepoint"])
    expect([name, here.hasTracepoint(name)]).toEqual([name, told.hasTracepoint(name)]);
});
