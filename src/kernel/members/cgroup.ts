import { host } from "../../offsets/values.ts";
import { text } from "./file.ts";
import { known, leads, struct, type Thing, value } from "./row.ts";
import { to, u64 } from "./typedefs.ts";

/** What is known of a file or folder of sysfs or of control groups. */
export interface NodeFacts {
  /** The inode's number: the whole of it is the node's own, where such numbers have 64 bits. */
  readonly id: bigint;
  readonly name: string;
  /** The folder above it; null for the first one of its file system. */
  readonly parent: Thing | null;
  /** The control group, for the folder of one. */
  readonly group: Thing;
  /** The kobject, for a folder of sysfs. */
  readonly object: Thing;
}

/** include/linux/kernfs.h; 128 to 144 bytes. */
export const kernfsNode = struct<NodeFacts>("kernfs_node", 192, ["id", "name"], {
  // Before, a union of a number and a generation had this name.
  id: { ...value(u64, ({ id }) => known(id, (it) => host(8, it))), since: [5, 5] },
  name: leads(to("char"), ({ name }) =>
    known(name, (it) => text.of({ text: new TextEncoder().encode(`${it}\0`) })),
  ),
  parent: { ...leads(to("kernfs_node"), ({ parent }) => parent), until: [6, 15] },
  __parent: { ...leads(to("kernfs_node"), ({ parent }) => parent), since: [6, 15] },
  priv: leads(to("void"), ({ group, object }) => group ?? object),
});

/** What is known of a control group of the second version: its folder. */
export interface GroupFacts {
  readonly node: Thing;
}

/** include/linux/cgroup-defs.h; 1.7 to 2.7 KiB. */
export const cgroup = struct<GroupFacts>("cgroup", 4096, ["kn"], {
  kn: leads(to("kernfs_node"), ({ node }) => node),
});

/** What is known of the groups of a task: that of the second version. */
export interface GroupsFacts {
  readonly group: Thing;
}

/** include/linux/cgroup-defs.h; 544 to 592 bytes. Others lie behind it, of the same group. */
export const cssSet = struct<GroupsFacts>("css_set", 640, ["dfl_cgrp"], {
  dfl_cgrp: leads(to("cgroup"), ({ group }) => group),
});
