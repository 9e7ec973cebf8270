import { describe, expect, test } from "bun:test";
import { join } from "node:path";
import { ebpfTargets } from "../../../assets/build/ebpf.ts";
import { assets } from "../../../assets/build/paths.ts";
import { run } from "../../../assets/build/run.ts";

/** Helpers by their numbers in enum bpf_func_id of include/uapi/linux/bpf.h. */
const MAP_LOOKUP_ELEM = 1;
const MAP_UPDATE_ELEM = 2;
const MAP_DELETE_ELEM = 3;
const PROBE_READ = 4; // Linux 4.1
const GET_CURRENT_PID_TGID = 14; // Linux 4.2
const GET_CURRENT_COMM = 16; // Linux 4.2
const PERF_EVENT_OUTPUT = 25; // Linux 4.4
const GET_CURRENT_TASK = 35; // Linux 4.8
const PROBE_READ_USER = 112; // Linux 5.5
const PROBE_READ_KERNEL = 113; // Linux 5.5
const RINGBUF_RESERVE = 131; // Linux 5.8
const RINGBUF_SUBMIT = 132;
const RINGBUF_DISCARD = 133;
const SKC_TO_TCP_SOCK = 137; // Linux 5.9; gives a pointer that the verifier knows the type of

/** Classes of instructions, the low three bits of their first byte, and two whole first bytes. */
const JMP = 5;
const JMP32 = 6; // Linux 5.1
const JA = 0x05; // the one jump without a condition
const CALL = 0x85;
const EXIT = 0x95;
const LD_IMM64 = 0x18; // takes two places

/** BPF_MAXINSNS: what a program may have before Linux 5.2, root's too. */
const MOST_INSTRUCTIONS = 4096;
const BPF_F_MMAPABLE = 1 << 10;

interface Instruction {
  readonly at: number;
  readonly code: number;
  readonly source: number;
  readonly offset: number;
  readonly immediate: number;
}

/** The instructions of each program, as struct bpf_insn lays them out; readelf tells where they are. */
async function programsOf(path: string): Promise<Map<string, Instruction[]>> {
  const { stdout } = await run(["readelf", "--wide", "--sections", "--symbols", path], { cwd: assets });
  const sections = new Map(
    [...stdout.matchAll(/^ +\[ *(\d+)\] (\S+) +PROGBITS +\S+ (\S+) \S+ \S+ +AX/gm)].map(
      ([, index = "", name = "", offset = ""]) => [index, { name, offset: Number.parseInt(offset, 16) }],
    ),
  );
  const functions = stdout.matchAll(/^ +\d+: (\w+) +(\d+) FUNC +GLOBAL +DEFAULT +(\d+) (\w+)$/gm);
  const file = await Bun.file(join(assets, path)).bytes();
  const programs = new Map<string, Instruction[]>();
  for (const [, start = "", size = "", index = "", name = ""] of functions) {
    const section = sections.get(index);
    if (section === undefined) throw new Error(`${path}: ${name} lies in no section of code`);
    const offset = section.offset + Number.parseInt(start, 16);
    const view = new DataView(file.buffer, file.byteOffset + offset, Number(size));
    programs.set(`${section.name}:${name}`, decode(view));
  }
  return programs;
}

function decode(view: DataView): Instruction[] {
  const instructions: Instruction[] = [];
  for (let at = 0; at < view.byteLength; at += 8) {
    const code = view.getUint8(at);
    instructions.push({
      at: at / 8,
      code,
      source: view.getUint8(at + 1) >> 4,
      offset: view.getInt16(at + 2, true),
      immediate: view.getInt32(at + 4, true),
    });
    if (code === LD_IMM64) at += 8;
  }
  return instructions;
}

/** The first jump that closes a loop, as check_cfg of Linux before 5.3 looks for it: depth first, back to where we are. */
function loopIn(instructions: readonly Instruction[]): Instruction | undefined {
  const all = new Map(
    instructions.map((each, index) => [each.at, { each, next: instructions[index + 1]?.at }]),
  );
  const open = new Set<number>();
  const done = new Set<number>();
  function visit(at: number): Instruction | undefined {
    const found = all.get(at);
    if (found === undefined) throw new Error(`a jump to ${at}, where no instruction begins`);
    const { each, next } = found;
    const jumps = (each.code & 7) === JMP && each.code !== CALL && each.code !== EXIT;
    const targets = [
      ...(each.code === EXIT || each.code === JA ? [] : [next ?? Number.NaN]),
      ...(jumps ? [at + 1 + each.offset] : []),
    ];
    open.add(at);
    for (const target of targets) {
      if (open.has(target)) return each;
      const loop = done.has(target) ? undefined : visit(target);
      if (loop !== undefined) return loop;
    }
    open.delete(at);
    done.add(at);
    return undefined;
  }
  return visit(0);
}

const isOld = (path: string): boolean => path.endsWith("_old.o");
const all = await ebpfTargets();
/** Programs of tp_btf: for kernels with BTF, so none of the old ones. */
const isTyped = ({ path }: { path: string }): boolean => path.endsWith("/socket_typed.o");
const targets = all.filter((target) => !isTyped(target));

/** The helpers that objects call, by how their names begin: each reads memory by one, that of its kernels. */
const helpers = [
  { name: /socket_(guess|stepwise)$/, of: [MAP_LOOKUP_ELEM, GET_CURRENT_COMM, PROBE_READ_KERNEL] },
  { name: /socket_(guess|stepwise)_old$/, of: [MAP_LOOKUP_ELEM, PROBE_READ, GET_CURRENT_COMM] },
  {
    name: /crawl$/,
    of: [MAP_LOOKUP_ELEM, GET_CURRENT_PID_TGID, GET_CURRENT_COMM, GET_CURRENT_TASK, PROBE_READ_KERNEL],
  },
  {
    name: /crawl_old$/,
    of: [MAP_LOOKUP_ELEM, PROBE_READ, GET_CURRENT_PID_TGID, GET_CURRENT_COMM, GET_CURRENT_TASK],
  },
  {
    name: /socket_reader$/,
    of: [
      MAP_LOOKUP_ELEM,
      GET_CURRENT_PID_TGID,
      GET_CURRENT_COMM,
      PROBE_READ_KERNEL,
      RINGBUF_RESERVE,
      RINGBUF_SUBMIT,
    ],
  },
  {
    name: /socket_reader_old$/,
    of: [
      MAP_LOOKUP_ELEM,
      MAP_UPDATE_ELEM,
      MAP_DELETE_ELEM,
      PROBE_READ,
      GET_CURRENT_PID_TGID,
      GET_CURRENT_COMM,
      PERF_EVENT_OUTPUT,
    ],
  },
  {
    name: /tls_\w+(?<!_old)$/,
    of: [
      MAP_LOOKUP_ELEM,
      MAP_UPDATE_ELEM,
      GET_CURRENT_PID_TGID,
      PROBE_READ_USER,
      RINGBUF_RESERVE,
      RINGBUF_SUBMIT,
      RINGBUF_DISCARD,
    ],
  },
  {
    name: /tls_\w+_old$/,
    of: [
      MAP_LOOKUP_ELEM,
      MAP_UPDATE_ELEM,
      MAP_DELETE_ELEM,
      PROBE_READ,
      GET_CURRENT_PID_TGID,
      PERF_EVENT_OUTPUT,
    ],
  },
];
/** Objects whose maps user space maps. */
const isGuessing = ({ path }: { path: string }): boolean => /socket_(guess|stepwise)|crawl/.test(path);

test("the object for lockdown=confidentiality calls no helper that reads memory", async () => {
  const typed = all.filter(isTyped);
  expect(typed.length).toBe(2);
  for (const { path } of typed) {
    const calls = [...(await programsOf(path)).values()].flat().filter(({ code }) => code === CALL);
    expect(new Set(calls.map(({ immediate }) => immediate))).toEqual(
      new Set([MAP_LOOKUP_ELEM, GET_CURRENT_COMM, SKC_TO_TCP_SOCK]),
    );
  }
});

test("each program has an object for old kernels on each architecture", () => {
  const current = targets.filter(({ path }) => !isOld(path)).map(({ path }) => path.replace(".o", "_old.o"));
  expect(current.length).toBeGreaterThan(0);
  expect(targets.filter(({ path }) => isOld(path)).map(({ path }) => path)).toEqual(current);
});

describe.each(targets)("$path", ({ path }) => {
  test("has programs that the first verifiers take: short, of the first instructions, without loops", async () => {
    const programs = await programsOf(path);
    expect(programs.size).toBeGreaterThan(1);
    for (const [name, instructions] of programs) {
      expect(name).toMatch(
        /^(kprobe\/\w+:kprobe_|raw_tp\/\w+:raw_tp_|uprobe\/\w+:uprobe_|perf_event:perf_event_|tracepoint\/syscalls\/\w+:tracepoint_)\w+$/,
      );
      expect([EXIT, JA]).toContain(instructions.at(-1)?.code ?? 0);
      expect((instructions.at(-1)?.at ?? MOST_INSTRUCTIONS) + 1).toBeLessThanOrEqual(MOST_INSTRUCTIONS);
      expect(instructions.filter(({ code }) => (code & 7) === JMP32)).toEqual([]);
      // Of many walks in one event; kernels that take the current objects take loops (Linux 5.3).
      if (!path.endsWith("/crawl.o")) expect(loopIn(instructions)).toBeUndefined();
    }
  });

  test("calls the one helper of its kernels that reads memory, and no function of its own", async () => {
    const calls = [...(await programsOf(path)).values()].flat().filter(({ code }) => code === CALL);
    expect(calls.filter(({ source }) => source !== 0)).toEqual([]);
    const called = new Set(calls.map(({ immediate }) => immediate));
    const expected = helpers.find(({ name }) => name.test(path.replace(".o", "")))?.of ?? [];
    expect([...called].sort((a, b) => a - b)).toEqual(expected);
  });
});

test.each(all.filter(isGuessing))("$path has maps with the flags of its kernels", async ({ path }) => {
  // A map's flags are the length of an array type (__uint of libbpf), which bpftool reads out of the BTF.
  const dump = await run(["bpftool", "--json", "btf", "dump", "file", join(assets, path)]);
  const { types } = JSON.parse(dump.stdout) as {
    types: {
      id: number;
      type_id?: number;
      nr_elems?: number;
      members?: { name: string; type_id: number }[];
    }[];
  };
  const of = (id: number | undefined) => types.find((type) => type.id === id);
  const flags = types
    .flatMap(({ members = [] }) => members)
    .filter(({ name }) => name === "map_flags")
    .map(({ type_id }) => of(of(type_id)?.type_id)?.nr_elems);
  expect(flags.length).toBeGreaterThan(0);
  expect(new Set(flags)).toEqual(new Set([isOld(path) ? 0 : BPF_F_MMAPABLE]));
});
