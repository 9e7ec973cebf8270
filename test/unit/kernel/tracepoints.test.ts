import { expect, test } from "bun:test";
import {
  classesIn,
  recordFields,
  recordOf,
  systemCallStructs,
  traceEntry,
  tracepointOf,
} from "../../../src/kernel/synthetic/tracepoints.ts";

const usual = `
	field:unsigned short common_type;	offset:0;	size:2;	signed:0;
	field:unsigned char common_flags;	offset:2;	size:1;	signed:0;
	field:unsigned char common_preempt_count;	offset:3;	size:1;	signed:0;
	field:int common_pid;	offset:4;	size:4;	signed:1;
`;
/** Debian's 6.1-rt, as other kernels with the patches of PREEMPT_RT. */
const longer = `${usual}	field:unsigned char common_preempt_lazy_count;	offset:8;	size:1;	signed:0;\n`;
const call = (common: string, number: number, rest: string) =>
  recordFields(`${common}\n	field:int __syscall_nr;	offset:${number};	size:4;	signed:1;\n${rest}`) ?? [];
const dfd = "	field:int dfd;	offset:16;	size:8;	signed:0;\n";
const ret = "	field:long ret;	offset:16;	size:8;	signed:1;\n";

test("types that a format does not tell are left out, and the rest is told", () => {
  const fields = recordFields(`name: odd\nID: 7\nformat:${usual}
	field:const void * at;	offset:8;	size:8;	signed:0;
	field:__data_loc char[] name;	offset:16;	size:4;	signed:0;
	field:enum zone_type zone;	offset:20;	size:4;	signed:0;
	field:enum packed small;	offset:24;	size:1;	signed:0;
	field:u8 many[SOME_ENUM];	offset:25;	size:3;	signed:0;
	field:char one[1];	offset:28;	size:1;	signed:1;
	field:u16 pair[2];	offset:30;	size:4;	signed:0;
	field:struct timespec64 when;	offset:40;	size:16;	signed:0;
	field:guid_t id;	offset:56;	size:16;	signed:0;

print fmt: "x"`);
  const { members, size } = recordOf("odd", fields ?? [], traceEntry(fields ?? []));
  expect(members.map(({ name, offset, type }) => [name, offset, type.kind])).toEqual([
    ["ent", 0, "struct"],
    ["at", 8, "pointer"],
    ["__data_loc_name", 16, "int"],
    ["zone", 20, "enum"],
    ["one", 28, "array"],
    ["pair", 30, "array"],
    ["when", 40, "struct"],
    ["__data", 72, "array"],
  ]);
  expect(size).toBe(72);
});

test.each([
  "",
  "no format",
  "	field:;	offset:0;	size:2;",
  "	field:int x[;	offset:0;	size:9999999;	signed:0;",
])("%p is no format", (text) => expect(recordFields(text)).toBeNull());

test("where a vendor made struct trace_entry longer, nothing is said of a system call's arguments", () => {
  const structs = (common: string, number: number) => {
    const [enter, exit] = [call(common, number, dfd), call(common, number, ret)];
    return systemCallStructs(enter, exit, traceEntry(enter));
  };
  expect(structs(usual, 8)?.map(({ name, members }) => [name, members.at(-1)?.offset])).toEqual([
    ["syscall_trace_enter", 16],
    ["syscall_trace_exit", 16],
  ]);
  expect(structs(longer, 12)).toBeNull();
});

test("a class is known by its function, and its format by a tracepoint of its name or of its row", () => {
  const classes = classesIn(
    "0 t trace_event_raw_event_sys_enter\n0 t trace_event_raw_event_block_rq.cold\n0 t trace_event_raw_event_xfs_odd\t[xfs]\n",
  );
  expect([...classes]).toEqual(["sys_enter", "block_rq", "xfs_odd"]);
  const there = new Set(["sys_enter", "block_rq_issue"]);
  const formats = [...classes].map((name) => tracepointOf(name, (one) => there.has(one)));
  expect(formats).toEqual(["sys_enter", "block_rq_issue", null]);
});
