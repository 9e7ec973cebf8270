import { basename, dirname, join } from "node:path";
import { writeAll } from "../../../ffi/descriptors.ts";
import { SystemError } from "../../../ffi/error.ts";
import { endsWithUs, Heir, makeFolder, O_WRONLY, openFile, removeFolder } from "../../../ffi/process.ts";
import { sleep } from "../../../ffi/thread.ts";
import { share } from "../../self/whereabouts.ts";
import { cgroup, cssSet } from "../members/cgroup.ts";
import type { Thing } from "../members/row.ts";
import type { Files, OpenFile } from "./open-files.ts";
import { read } from "./procfs.ts";

/** Control groups of ours. A child that is put into one is in a group that no other process is in. */
export interface Groups {
  /** Struct css_set of this process. */
  readonly own: Thing;
  /** Puts a child of ours into a group of its own. @returns its struct css_set; undefined where no more may be made @throws SystemError */
  enter(pid: number): Thing | undefined;
}

/**
 * Looks up the control group (of the second version) that this process is in, and makes some below it: a folder that nobody is
 * in, and in that one for each child, so that no controller tells them apart, whose structs lead to groups as well.
 * They go with `owned`, or where this process is killed by an heir of it (ffi/process.ts).
 * @param limits where to say why it makes none @returns null where there is none to be seen
 */
export function openGroups(owned: DisposableStack, files: Files, limits: string[]): Groups | null {
  const place = placeOf();
  if (place === null) return null;
  const { folder, path } = place;
  const one = files.openFolder(folder, false);
  if (one?.node === undefined) return null;
  const above = path === "/" ? null : files.openFolder(dirname(folder), false);
  const own = groupOf(one, path === "/" ? undefined : basename(path), above ?? undefined);
  const outer = join(folder, `offsetof-${crypto.randomUUID()}`);
  const inner = ["first", "second"].map((name) => join(outer, name));
  const set = cssSet.of({ group: own });
  const alone = { own: set, enter: () => undefined };
  if (!endsWithUs()) return alone;
  try {
    owned.use(new Heir([...inner, outer]));
    for (const each of [outer, ...inner]) {
      makeFolder(each, `in ${folder}`);
      owned.defer(() => remove(each));
    }
  } catch (error) {
    if (!(error instanceof SystemError)) throw error;
    limits.push(`a control group of its own: ${error.message}`);
    return alone;
  }
  const middle = files.openFolder(outer);
  if (middle?.node === undefined) return alone;
  groupOf(middle, basename(outer), one);
  // All are opened now, with the same credentials as other files.
  const free = inner.flatMap((each) => {
    const made = files.openFolder(each);
    return made?.node === undefined
      ? []
      : [{ procs: join(each, "cgroup.procs"), group: groupOf(made, basename(each), middle) }];
  });
  return {
    own: set,
    enter: (pid) => {
      const next = free.shift();
      if (next === undefined) return undefined;
      using file = openFile(next.procs, O_WRONLY);
      writeAll(file.fd, new TextEncoder().encode(`${pid}`), "cgroup.procs");
      return cssSet.of({ group: next.group });
    },
  };
}

/** The group of a folder. */
function groupOf({ known, node }: OpenFile, name: string | undefined, parent: OpenFile | undefined): Thing {
  const group = cgroup.of(node === undefined ? {} : { node });
  known.node.group = group;
  // A name with other characters is left out: the text that was read of it need not be what the kernel has.
  if (name !== undefined && /^[\x21-\x7e]+$/.test(name)) known.node.name = name;
  if (parent?.node !== undefined) known.node.parent = parent.node;
  return group;
}

/** Where the group of this process is: its folder, and its path below the one that is mounted; null where that cannot be seen. */
function placeOf(): { readonly folder: string; readonly path: string } | null {
  const [, path] = /^0::(\/.*)$/m.exec(read("/proc/self/cgroup") ?? "") ?? [];
  if (path === undefined) return null;
  const lines = (read("/proc/self/mountinfo") ?? "").split("\n").map((line) => line.split(" "));
  const mounted = lines.flatMap((fields) => {
    const [, , , root, place] = fields;
    const type = fields[fields.indexOf("-") + 1];
    return type === "cgroup2" && root === "/" && place !== undefined ? [place] : [];
  });
  const folder = mounted
    .map((place) => join(place, path === "/" ? "" : path))
    .find((each) => (read(join(each, "cgroup.procs")) ?? "").split("\n").includes(`${process.pid}`));
  return folder === undefined ? null : { folder, path };
}

/** Removes a group's folder: who was in it may be leaving still. */
function remove(path: string): void {
  const until = performance.now() + share();
  while (!removeFolder(path) && performance.now() < until) sleep(1000);
}
