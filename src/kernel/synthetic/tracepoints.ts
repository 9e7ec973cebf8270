import {
  array,
  at,
  type CMember,
  type Composite,
  type CType,
  char,
  type Enumeration,
  pointer,
  s16,
  s32,
  s64,
  struct,
  u8,
  u16,
  u32,
  u64,
  ulong,
} from "./ctype.ts";

/**
 * The structs of tracepoints' records, `trace_event_raw_CLASS`, out of the `format` files of tracefs, by which the kernel itself
 * tells its tools where a record's fields lie (include/trace/trace_events.h makes both of one macro). Offsets and sizes are
 * bytes.
 */

/** A line `field:` of a format file. */
interface Field {
  readonly name: string;
  /** As C declares it, without the name and what follows it. */
  readonly type: string;
  /** Elements of an array, undefined of any other; null where the text is no number. */
  readonly count: number | null | undefined;
  readonly offset: number;
  readonly size: number;
  readonly isSigned: boolean;
}

/** A tracepoint of a class that has another name: only the kernel's source tells of which class one is. */
const tracepointsOf: Readonly<Record<string, string>> = {
  block_bio: "block_bio_queue",
  block_rq: "block_rq_issue",
  block_rq_completion: "block_rq_complete",
  cpu: "cpu_frequency",
  kmem_alloc: "kmalloc",
  kmem_alloc_node: "kmalloc_node",
  kmem_free: "kfree",
  mm_vmscan_direct_reclaim_begin_template: "mm_vmscan_direct_reclaim_begin",
  mm_vmscan_direct_reclaim_end_template: "mm_vmscan_direct_reclaim_end",
  net_dev_template: "net_dev_queue",
  sched_process_template: "sched_process_free",
  sched_wakeup_template: "sched_wakeup",
  sock_msg_length: "sock_send_length",
  softirq: "softirq_entry",
  tcp_event_sk: "tcp_destroy_sock",
};

/** System calls that every kernel of ours has, with arguments. */
export const systemCalls = { enter: "sys_enter_openat", exit: "sys_exit_openat" } as const;

/** The classes of a kernel, by the functions that fill their records. @param kallsyms the text of /proc/kallsyms */
export const classesIn = (kallsyms: string): ReadonlySet<string> =>
  new Set([...kallsyms.matchAll(/ trace_event_raw_event_(\w+)/g)].map(([, name = ""]) => name));

/** The tracepoint whose format is that of a class; null: not known. @param isThere whether there is one of that name */
export function tracepointOf(name: string, isThere: (tracepoint: string) => boolean): string | null {
  if (isThere(name)) return name;
  const other = tracepointsOf[name];
  return other !== undefined && isThere(other) ? other : null;
}

/** @returns null where it is no format file */
export function recordFields(format: string): readonly Field[] | null {
  const fields = [
    ...format.matchAll(/^\tfield:(.{1,400});\toffset:(\d{1,6});\tsize:(\d{1,6});(?:\tsigned:([01]);)?$/gm),
  ].map(([, declaration = "", offset, size, sign]): Field => {
    const [, type = "", name = "", brackets] = /^(.*?)(\w+)(?:\[([^\]]*)\])?$/s.exec(declaration) ?? [];
    const count = brackets === undefined ? undefined : /^\d{1,6}$/.test(brackets) ? Number(brackets) : null;
    return {
      name,
      type: type.trim(),
      count,
      offset: Number(offset),
      size: Number(size),
      isSigned: sign === "1",
    };
  });
  return fields.length === 0 || fields.some(({ name }) => name === "") ? null : fields;
}

/** `struct trace_entry`, which every record begins with. */
export function traceEntry(fields: readonly Field[]): Composite {
  const common = fields.filter(isCommon).flatMap((field): CMember[] => {
    const type = typeOf(field);
    return type === null ? [] : [at(field.offset, field.name.slice(COMMON.length), type)];
  });
  return struct("trace_entry", roundUp(endOf(fields.filter(isCommon)), 4), ...common);
}

/** The struct of a class. Members whose type its format does not tell are left out. */
export function recordOf(name: string, fields: readonly Field[], entry: Composite): Composite {
  const own = fields.filter((field) => !isCommon(field));
  const members = own.flatMap((field): CMember[] => {
    const dynamic = /^(__data_loc|__rel_loc) /.exec(field.type)?.[1];
    if (dynamic !== undefined)
      return field.size === 4 ? [at(field.offset, `${dynamic}_${field.name}`, u32)] : [];
    const type = typeOf(field);
    return type === null ? [] : [at(field.offset, field.name, type)];
  });
  const end = Math.max(entry.size, endOf(own));
  members.sort((a, b) => a.offset - b.offset);
  return struct(
    `${RECORD}${name}`,
    roundUp(end, 4),
    at(0, "ent", entry),
    ...members,
    at(end, "__data", array(char, 0)),
  );
}

/** What the names of all these structs begin with. */
export const RECORD = "trace_event_raw_";

/**
 * `struct syscall_trace_enter` and `syscall_trace_exit`, which programs at `syscalls/*` are given. Null where a vendor made
 * struct trace_entry longer: then what format files say of these is not where Linux before 6.7 puts the arguments.
 */
export function systemCallStructs(
  enter: readonly Field[],
  exit: readonly Field[],
  entry: Composite,
): readonly Composite[] | null {
  const lies = (fields: readonly Field[], place: number, is: (name: string) => boolean) =>
    fields.some(({ name, offset }) => offset === place && is(name));
  const isNumber = (name: string) => name === "__syscall_nr" || name === "nr";
  const isUsual =
    entry.size === 8 &&
    lies(enter, 8, isNumber) &&
    lies(exit, 8, isNumber) &&
    lies(enter, 16, (name) => name === "dfd") &&
    lies(exit, 16, (name) => name === "ret");
  if (!isUsual) return null;
  const begin = [at(0, "ent", entry), at(8, "nr", s32)];
  return [
    struct("syscall_trace_enter", 16, ...begin, at(16, "args", array(ulong, 0))),
    struct("syscall_trace_exit", 24, ...begin, at(16, "ret", long)),
  ];
}

const COMMON = "common_";
const isCommon = ({ name }: Field): boolean => name.startsWith(COMMON);
const endOf = (fields: readonly Field[]): number =>
  Math.max(0, ...fields.map(({ offset, size }) => offset + size));
const roundUp = (value: number, to: number): number => Math.ceil(value / to) * to;

const long = { ...s64, name: "long int" } as const;
const integers: Readonly<Record<number, readonly [unsigned: CType, signed: CType]>> = {
  1: [u8, char],
  2: [u16, s16],
  4: [u32, s32],
  8: [u64, s64],
};
/** Without a name it stands for every enum, whose enumerators nobody tells. */
const anyEnum: Enumeration = { kind: "enum", name: "", enumerators: [] };

/** The type of a field; null where its format does not tell enough of it. */
function typeOf({ type, count, size, isSigned }: Field): CType | null {
  if (count === null || size === 0) return null;
  if (/^(const )?(struct|union) [^*]*$/.test(type)) return count === undefined ? struct("", size) : null;
  const element = elementOf(type, size / Math.max(count ?? 1, 1), isSigned);
  return element === null || count === undefined ? element : array(element, count);
}

function elementOf(type: string, size: number, isSigned: boolean): CType | null {
  if (type.includes("*")) return size === 8 ? pointer("void") : null;
  if (/^(const )?enum /.test(type)) return size === 4 ? anyEnum : null;
  return integers[size]?.[isSigned ? 1 : 0] ?? null;
}
