import { readdirSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { until } from "../until.ts";
import { run } from "./executable.ts";

/** A program, map or link of the kernel, by its id. */
export interface Held {
  readonly kind: "prog" | "map" | "link";
  readonly id: string;
}

/** What a process holds of the kernel: see the descriptors' fdinfo. Empty when it is gone. */
export function heldBy(pid: number): readonly Held[] {
  return entries(`/proc/${pid}/fdinfo`).flatMap((info) => {
    // A link's tells its program too.
    for (const kind of ["link", "map", "prog"] as const) {
      const id = new RegExp(`^${kind}_id:\\s*(\\d+)$`, "m").exec(info)?.[1];
      if (id !== undefined) return [{ kind, id }];
    }
    return [];
  });
}

/** The files in a folder of /proc; one that is gone by the time that it is read is empty. */
function entries(folder: string, file = ""): readonly string[] {
  const read = (name: string): string => {
    try {
      return readFileSync(join(folder, name, file), "utf8");
    } catch {
      return "";
    }
  };
  try {
    return readdirSync(folder).map(read);
  } catch {
    return [];
  }
}

/** The processes that a process has started and that are not over. */
export const childrenOf = (pid: number): readonly number[] =>
  entries(`/proc/${pid}/task`, "children").flatMap((pids) => [...pids.matchAll(/\d+/g)].map(Number));

/** Those that the kernel still has, by bpftool. It frees them a moment after their last holder is gone. */
export async function stillThere(held: readonly Held[]): Promise<readonly Held[]> {
  let left = held;
  const isFreed = (): boolean => {
    left = left.filter(({ kind, id }) => run(["bpftool", kind, "show", "id", id]).status === 0);
    return left.length === 0;
  };
  await until(isFreed).catch(() => {});
  return left;
}

/**
 * Runs a command to its end. @returns what it held of the kernel in the meantime, as often as it was looked at; it is run
 * again where it was over before anything was seen
 */
export async function heldDuring(command: readonly string[]): Promise<readonly Held[]> {
  const held = new Map<string, Held>();
  while (held.size === 0) {
    const process = Bun.spawn([...command], { stdin: "ignore", stdout: "ignore", stderr: "ignore" });
    while (process.exitCode === null && process.signalCode === null) {
      for (const one of heldBy(process.pid)) held.set(`${one.kind} ${one.id}`, one);
      await Bun.sleep(1);
    }
  }
  return [...held.values()];
}
