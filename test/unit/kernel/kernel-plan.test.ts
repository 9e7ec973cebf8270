import { expect, test } from "bun:test";
import { no, unknown, yes } from "../../../src/host/answer.ts";
import { kernelPlan, type PlanOptions } from "../../../src/kernel/kernel-plan.ts";
import type { Symbols } from "../../../src/kernel/running/kallsyms.ts";
import { sources } from "../../../src/offsets/evidence.ts";

const everything: Symbols = { hasFunction: () => true, hasTracepoint: () => true };
const options: PlanOptions = {
  host: {
    kernel: { version: [6, 1, 170] },
    btf: yes("BTF"),
    kprobes: yes("kprobes"),
    bpf: yes("rights"),
    kernelReads: yes("rights"),
    rawTracepoints: yes("raw tracepoints"),
  },
  sources,
  strategy: "snapshot",
  bytecode: "auto",
  symbols: everything,
  withoutConntrack: null,
};
const plan = (more: Partial<PlanOptions>, host: Partial<PlanOptions["host"]> = {}) =>
  kernelPlan({ ...options, ...more, host: { ...options.host, ...host } });
const rungs = (planned: ReturnType<typeof kernelPlan>) =>
  Object.fromEntries(Object.entries(planned.structs).map(([struct, { rung }]) => [struct, rung]));

test("a host with everything takes the first rung of each ladder", () => {
  expect(plan({})).toMatchObject({
    sources: { guess: { would: true }, btf: { would: true } },
    strategy: "snapshot",
    bytecode: "socket_guess",
  });
  expect(rungs(plan({}))).toEqual({
    sock: "kprobe:tcp_getsockopt",
    socket: "kprobe:sock_common_getsockopt",
    flowi4: "raw_tp:fib_table_lookup",
    flowi6: "raw_tp:fib6_table_lookup",
    sk_buff: "raw_tp:net_dev_queue",
    nf_conn: "kprobe:nf_conntrack_hash_check_insert",
  });
});

test("what a kernel lacks is passed over, with the reason", () => {
  const planned = plan({
    symbols: { hasFunction: (name) => name !== "tcp_getsockopt", hasTracepoint: () => null },
  });
  expect(planned.structs.sock).toEqual({
    rung: "raw_tp:inet_sock_set_state",
    would: null,
    reason:
      "/proc/kallsyms does not tell whether there is such a tracepoint; kprobe:tcp_getsockopt: this kernel has no such function",
  });
  expect(planned.sources.guess.would).toBeNull();
});

test("without kprobes tracepoints serve, and nf_conn has none", () => {
  const planned = plan({}, { kprobes: no("no CONFIG_KPROBES") });
  expect(rungs(planned)).toMatchObject({ sock: "raw_tp:inet_sock_set_state", socket: null, nf_conn: null });
  expect(planned.structs.nf_conn?.reason).toContain("no CONFIG_KPROBES");
  expect(planned.structs.socket).toMatchObject({
    would: true,
    reason: "reached by the pointers of struct sock",
  });
});

test("without conntrack's module its struct has no rung", () => {
  expect(plan({ withoutConntrack: "modprobe it" }).structs.nf_conn).toMatchObject({
    rung: null,
    would: false,
    reason: expect.stringContaining("modprobe it"),
  });
});

test("without rights nothing would be guessed; BTF needs none", () => {
  expect(plan({}, { bpf: no("needs CAP_BPF") })).toEqual({
    sources: {
      guess: { would: false, reason: "kprobe:tcp_getsockopt, raw_tp:inet_sock_set_state: needs CAP_BPF" },
      btf: { would: true, reason: "BTF" },
    },
    strategy: null,
    bytecode: null,
    structs: {},
  });
  expect(plan({ sources: ["btf"] }).sources.guess).toEqual({
    would: false,
    reason: "not among the sources that may speak",
  });
});

test("a right that could not be told leaves open what would be", () => {
  const rights = unknown("a seccomp filter");
  const planned = plan({}, { bpf: rights, kprobes: yes(""), rawTracepoints: rights });
  expect(planned.structs.flowi4).toMatchObject({ rung: "raw_tp:fib_table_lookup", would: null });
});

test("where eBPF may not read memory, typed reads confirm BTF", () => {
  const locked = { kprobes: no("lockdown"), rawTracepoints: no("lockdown") };
  expect(plan({}, locked)).toMatchObject({ strategy: null, bytecode: "socket_typed", structs: {} });
  expect(plan({}, { ...locked, btf: no("none") }).bytecode).toBeNull();
});

test.each([
  [{ bytecode: "old" } as const, "socket_guess_old"],
  [{ strategy: "stepwise" } as const, "socket_stepwise"],
])("%p is heeded", (more, object) => {
  expect(plan(more).bytecode).toBe(object);
});
