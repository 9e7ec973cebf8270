import type { Expectation } from "../../offsets/observation.ts";
import { between, host, raw } from "../../offsets/values.ts";
import { known, leads, struct, type Thing, value } from "./row.ts";
import { comm, kernelCap, kgid, kuid, s32, s64, to, u32, u64, ulong } from "./typedefs.ts";

/** What is known of a task; pids are those of the first pid namespace. */
export interface TaskFacts {
  readonly pid: number;
  readonly tgid: number;
  readonly comm: Uint8Array;
  readonly state: Expectation;
  readonly exitCode: number;
  readonly flags: number;
  readonly leader: Thing;
  readonly parent: Thing | undefined;
  readonly cred: Thing;
  readonly mm: Thing;
  readonly fs: Thing;
  readonly files: Thing;
  readonly nsproxy: Thing;
  readonly threadPid: Thing;
  readonly signal: Thing;
  readonly groups: Thing;
  /** Nanoseconds of the clocks CLOCK_MONOTONIC and CLOCK_BOOTTIME, from and to. */
  readonly started: readonly [bigint, bigint];
  readonly startedSinceBoot: readonly [bigint, bigint];
  readonly voluntary: bigint;
  readonly involuntary: bigint;
  readonly loginUid: number;
  readonly sessionId: number;
}

/** include/linux/sched.h; 8 to 14 KiB. */
export const taskStruct = struct<TaskFacts>(
  "task_struct",
  16384,
  ["pid", "tgid", "comm"],
  {
    pid: value(s32, ({ pid }) => known(pid, (it) => host(4, it))),
    tgid: value(s32, ({ tgid }) => known(tgid, (it) => host(4, it))),
    comm: value(comm, ({ comm }) => known(comm, raw)),
    __state: { ...value(u32, ({ state }) => state), since: [5, 14] },
    state: {
      ...value(
        s64,
        ({ state }) =>
          state && {
            value: Uint8Array.of(...state.value, 0, 0, 0, 0),
            mask: Uint8Array.of(...(state.mask ?? [255, 255, 255, 255]), 255, 255, 255, 255),
          },
      ),
      until: [5, 14],
    },
    exit_code: value(s32, ({ exitCode }) => known(exitCode, (it) => host(4, it))),
    flags: value(u32, ({ flags }) => known(flags, (it) => host(4, it))),
    group_leader: leads(to("task_struct"), ({ leader }) => leader),
    real_parent: leads(to("task_struct"), ({ parent }) => parent),
    parent: leads(to("task_struct"), ({ parent }) => parent),
    real_cred: leads(to("cred"), ({ cred }) => cred),
    cred: leads(to("cred"), ({ cred }) => cred),
    mm: leads(to("mm_struct"), ({ mm }) => mm),
    active_mm: leads(to("mm_struct"), ({ mm }) => mm),
    fs: leads(to("fs_struct"), ({ fs }) => fs),
    files: leads(to("files_struct"), ({ files }) => files),
    nsproxy: leads(to("nsproxy"), ({ nsproxy }) => nsproxy),
    signal: leads(to("signal_struct"), ({ signal }) => signal),
    cgroups: leads(to("css_set"), ({ groups }) => groups),
    nvcsw: value(ulong, ({ voluntary }) => known(voluntary, (it) => host(8, it))),
    nivcsw: value(ulong, ({ involuntary }) => known(involuntary, (it) => host(8, it))),
    start_time: value(u64, ({ started }) => known(started, (it) => between(...it))),
    start_boottime: {
      ...value(u64, ({ startedSinceBoot }) => known(startedSinceBoot, (it) => between(...it))),
      since: [5, 5],
    },
    loginuid: value(kuid, ({ loginUid }) => known(loginUid, (it) => host(4, it))),
    sessionid: value(u32, ({ sessionId }) => known(sessionId, (it) => host(4, it))),
    thread_pid: { ...leads(to("pid"), ({ threadPid }) => threadPid), since: [4, 19] },
  },
  {
    order: [
      "__state",
      "state",
      "flags",
      "mm",
      "active_mm",
      "exit_code",
      "pid",
      "tgid",
      "real_parent",
      "parent",
      "group_leader",
      "thread_pid",
      "nvcsw",
      "nivcsw",
      "start_time",
      "start_boottime",
      "real_cred",
      "cred",
      "comm",
      "fs",
      "files",
      "nsproxy",
      "signal",
    ],
    together: ["nvcsw", "nivcsw", "start_time", "start_boottime"],
  },
);

/** What is known of struct cred; ids are those of the first user namespace. */
export interface CredFacts {
  readonly uid: number;
  readonly gid: number;
  readonly suid: number;
  readonly sgid: number;
  readonly euid: number;
  readonly egid: number;
  readonly fsuid: number;
  readonly fsgid: number;
  readonly inheritable: bigint;
  readonly permitted: bigint;
  readonly effective: bigint;
  readonly bounding: bigint;
  readonly ambient: bigint;
  readonly userNamespace: Thing;
}

const id = (fact: number | undefined): Expectation | undefined => known(fact, (it) => host(4, it));
const set = (fact: bigint | undefined): Expectation | undefined => known(fact, (it) => host(8, it));

/** include/linux/cred.h. */
export const cred = struct<CredFacts>(
  "cred",
  256,
  ["uid", "euid", "suid", "gid", "egid", "sgid"],
  {
    uid: value(kuid, ({ uid }) => id(uid)),
    gid: value(kgid, ({ gid }) => id(gid)),
    suid: value(kuid, ({ suid }) => id(suid)),
    sgid: value(kgid, ({ sgid }) => id(sgid)),
    euid: value(kuid, ({ euid }) => id(euid)),
    egid: value(kgid, ({ egid }) => id(egid)),
    fsuid: value(kuid, ({ fsuid }) => id(fsuid)),
    fsgid: value(kgid, ({ fsgid }) => id(fsgid)),
    cap_inheritable: { ...value(kernelCap, ({ inheritable }) => set(inheritable)), align: 4 },
    cap_permitted: { ...value(kernelCap, ({ permitted }) => set(permitted)), align: 4 },
    cap_effective: { ...value(kernelCap, ({ effective }) => set(effective)), align: 4 },
    cap_bset: { ...value(kernelCap, ({ bounding }) => set(bounding)), align: 4 },
    cap_ambient: { ...value(kernelCap, ({ ambient }) => set(ambient)), align: 4 },
    user_ns: leads(to("user_namespace"), ({ userNamespace }) => userNamespace),
  },
  {
    order: [
      "uid",
      "gid",
      "suid",
      "sgid",
      "euid",
      "egid",
      "fsuid",
      "fsgid",
      "cap_inheritable",
      "cap_permitted",
      "cap_effective",
      "cap_bset",
      "cap_ambient",
    ],
  },
);

/** What is known of an address space, from /proc/PID/stat. */
export interface MmFacts {
  readonly startCode: bigint;
  readonly endCode: bigint;
  readonly startData: bigint;
  readonly endData: bigint;
  readonly startBrk: bigint;
  readonly startStack: bigint;
  readonly argStart: bigint;
  readonly argEnd: bigint;
  readonly envStart: bigint;
  readonly envEnd: bigint;
  readonly exe: Thing;
}

const address = (fact: bigint | undefined): Expectation | undefined => known(fact, (it) => host(8, it));

/** include/linux/mm_types.h. */
export const mmStruct = struct<MmFacts>(
  "mm_struct",
  2048,
  ["start_stack", "arg_start", "env_end"],
  {
    start_code: value(ulong, ({ startCode }) => address(startCode)),
    end_code: value(ulong, ({ endCode }) => address(endCode)),
    start_data: value(ulong, ({ startData }) => address(startData)),
    end_data: value(ulong, ({ endData }) => address(endData)),
    start_brk: value(ulong, ({ startBrk }) => address(startBrk)),
    start_stack: value(ulong, ({ startStack }) => address(startStack)),
    arg_start: value(ulong, ({ argStart }) => address(argStart)),
    arg_end: value(ulong, ({ argEnd }) => address(argEnd)),
    env_start: value(ulong, ({ envStart }) => address(envStart)),
    env_end: value(ulong, ({ envEnd }) => address(envEnd)),
    exe_file: leads(to("file"), ({ exe }) => exe),
  },
  {
    order: [
      "start_code",
      "end_code",
      "start_data",
      "end_data",
      "start_brk",
      "start_stack",
      "arg_start",
      "arg_end",
      "env_start",
      "env_end",
    ],
    together: ["arg_start", "arg_end", "env_start", "env_end"],
  },
);

/** What is known of struct pid: the numbers of a task, from the first pid namespace on. */
export interface PidFacts {
  readonly level: number;
  readonly numbers: readonly number[];
  readonly namespaces: readonly Thing[];
}

/** include/linux/pid.h. */
export const pid = struct<PidFacts>(
  "pid",
  256,
  ["level", "numbers[0].nr"],
  {
    level: value(u32, ({ level }) => known(level, (it) => host(4, it))),
    "numbers[0].nr": value(s32, ({ numbers }) => known(numbers?.[0], (it) => host(4, it))),
    "numbers[1].nr": value(s32, ({ numbers }) => known(numbers?.[1], (it) => host(4, it))),
    "numbers[0].ns": leads(to("pid_namespace"), ({ namespaces }) => namespaces?.[0]),
    "numbers[1].ns": leads(to("pid_namespace"), ({ namespaces }) => namespaces?.[1]),
  },
  {
    relations: [
      {
        kind: "before",
        first: "level",
        second: "numbers[0].nr",
        because: "numbers is the last member of pid",
      },
    ],
  },
);
