import { host } from "../../offsets/values.ts";
import { text } from "./file.ts";
import { known, leads, struct, type Thing, value } from "./row.ts";
import { to, u64 } from "./types.ts";

/** What is known of a file or folder of sysfs or of control groups. */
export interface NodeFacts {
  /** The inode's number: the whole of it is the node's own, where such numbers have 64 bits. */
  readonly id: bigint;
  readonly name: string;
  /** Null: it is the first of its file system. */
  readonly parent: Thing | null;
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
});
