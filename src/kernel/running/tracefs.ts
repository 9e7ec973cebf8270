import { readdirSync } from "node:fs";
import { type HostFiles, hostFiles, textOf } from "../../host/files.ts";
import { visibleTracefs } from "../../host/host.ts";
import { during } from "../../self/whereabouts.ts";
import type { Composite } from "../synthetic/ctype.ts";
import {
  classesIn,
  recordFields,
  recordOf,
  systemCallStructs,
  systemCalls,
  traceEntry,
  tracepointOf,
} from "../synthetic/tracepoints.ts";
import { kallsymsHere } from "./kallsyms.ts";

/** What the running kernel tells of its tracepoints. */
export interface Traced {
  readonly structs: readonly Composite[];
  /** Why there are no structs of tracepoints; empty where there are. */
  readonly why: string;
  /** Why there are none of `syscalls/*`; empty where there are. */
  readonly whyNoCalls: string;
}

/** Bytes that a format file may have: ten times as many as the longest one, which is of xfs. */
const largestFormat = 1 << 16;

/** The structs of the running kernel's tracepoints, by name: read of tracefs where it is mounted, and nothing is changed there. */
export function tracedHere(files: HostFiles = hostFiles()): Traced {
  const none = (why: string): Traced => ({ structs: [], why, whyNoCalls: why });
  const folder = visibleTracefs(textOf(files.read("/proc/self/mounts"))).find((one) =>
    files.exists(`${one}/events`),
  );
  if (folder === undefined)
    return none("tracefs is not mounted where it can be read (mount -t tracefs tracefs /sys/kernel/tracing)");
  using _ = during(folder);
  const classes = classesIn(kallsymsHere());
  if (classes.size === 0) return none("/proc/kallsyms names no class of tracepoints");
  const places = formatsIn(`${folder}/events`, dynamicIn(files, folder));
  const fields = (tracepoint: string) => {
    const [first, ...others] = (places.get(tracepoint) ?? []).map((path) =>
      recordFields(textOf(files.read(path, largestFormat)) ?? ""),
    );
    // Two tracepoints have this name and differ: which of them is of the class is not known.
    return first !== undefined && others.every((other) => Bun.deepEquals(first, other)) ? first : null;
  };
  const [enter, exit] = [fields(systemCalls.enter), fields(systemCalls.exit)];
  const structs: Composite[] = [];
  let entry: Composite | null = null;
  for (const name of [...classes].sort()) {
    const tracepoint = tracepointOf(name, (one) => places.has(one));
    const own = tracepoint === null ? null : fields(tracepoint);
    if (own === null) continue;
    entry ??= traceEntry(own);
    structs.push(recordOf(name, own, entry));
  }
  if (entry === null) return none(`no format can be read below ${folder}/events`);
  if (enter === null || exit === null)
    return {
      structs: [entry, ...structs],
      why: "",
      whyNoCalls: "this kernel has no tracepoints of system calls",
    };
  const calls = systemCallStructs(enter, exit, entry);
  const whyNoCalls =
    calls === null ? "a vendor's struct trace_entry: where the arguments lie is not known" : "";
  return { structs: [entry, ...structs, ...(calls ?? [])], why: "", whyNoCalls };
}

/** Paths of format files by their tracepoint's name. @param dynamic the tracepoints that users made, by `GROUP/NAME`, which are left out */
function formatsIn(events: string, dynamic: ReadonlySet<string>): ReadonlyMap<string, readonly string[]> {
  const places = new Map<string, string[]>();
  for (const group of foldersIn(events)) {
    if (group.startsWith("user_events")) continue;
    for (const name of foldersIn(`${events}/${group}`))
      if (!dynamic.has(`${group}/${name}`))
        places.set(name, [...(places.get(name) ?? []), `${events}/${group}/${name}/format`]);
  }
  return places;
}

/** Tracepoints that users made, which may be called as the kernel's own. */
function dynamicIn(files: HostFiles, folder: string): ReadonlySet<string> {
  const lists = ["dynamic_events", "kprobe_events", "uprobe_events", "synthetic_events"];
  const text = lists.map((name) => textOf(files.read(`${folder}/${name}`)) ?? "").join("\n");
  return new Set([...text.matchAll(/^\w+:(\S+\/\S+)/gm)].map(([, name = ""]) => name));
}

function foldersIn(folder: string): readonly string[] {
  try {
    return readdirSync(folder, { withFileTypes: true })
      .filter((entry) => entry.isDirectory())
      .map(({ name }) => name);
  } catch {
    return [];
  }
}
