import { host, masked, raw } from "../../offsets/values.ts";
import { type KnownStruct, known, leads, struct, type Thing, value } from "./row.ts";
import { kgid, kuid, s32, s64, to, u16, u32, ulong } from "./typedefs.ts";

/** A text of the kernel, as what a dentry's name leads to. */
export const text = struct<{ readonly text: Uint8Array }>("text", 256, ["text"], {
  text: { ...value(u32, ({ text }) => known(text, raw)), fixed: 0 },
});

/** What is known of an open file. */
export interface FileFacts {
  readonly flags: number;
  /** FMODE_READ, WRITE, LSEEK, PREAD, PWRITE, by bits 0 to 4. */
  readonly mode: number;
  readonly position: number;
  readonly inode: Thing;
  readonly dentry: Thing;
  readonly mount: Thing;
  readonly cred: Thing;
  /** What its kind keeps of it: a socket, a terminal. */
  readonly data: Thing;
}

/** include/linux/fs.h; 184 to 504 bytes. */
export const file = struct<FileFacts>("file", 512, ["f_inode", "f_flags"], {
  f_flags: value(u32, ({ flags }) => known(flags, (it) => host(4, it))),
  f_mode: value(u32, ({ mode }) => known(mode, (it) => masked(4, it, 0x1f))),
  f_pos: value(s64, ({ position }) => known(position, (it) => host(8, it))),
  f_inode: leads(to("inode"), ({ inode }) => inode),
  "f_path.dentry": leads(to("dentry"), ({ dentry }) => dentry),
  "f_path.mnt": leads(to("vfsmount"), ({ mount }) => mount),
  f_cred: leads(to("cred"), ({ cred }) => cred),
  private_data: leads(to("void"), ({ data }) => data),
});

/** What fstat(2) tells. */
export interface InodeFacts {
  readonly ino: bigint;
  readonly mode: number;
  readonly uid: number;
  readonly gid: number;
  /** As the kernel has it: major << 20 | minor. */
  readonly rdev: number;
  readonly size: bigint;
  readonly links: number;
  readonly superBlock: Thing;
  /** What its file system keeps of it: sysfs and control groups a kernfs_node. */
  readonly data: Thing;
}

/** include/linux/fs.h; up to 1 KiB with lockdep. */
export const inode = struct<InodeFacts>("inode", 1024, ["i_ino", "i_mode"], {
  i_ino: value(ulong, ({ ino }) => known(ino, (it) => host(8, it))),
  i_mode: value(u16, ({ mode }) => known(mode, (it) => host(2, it))),
  i_uid: value(kuid, ({ uid }) => known(uid, (it) => host(4, it))),
  i_gid: value(kgid, ({ gid }) => known(gid, (it) => host(4, it))),
  i_rdev: value(u32, ({ rdev }) => known(rdev, (it) => host(4, it))),
  i_size: value(s64, ({ size }) => known(size, (it) => host(8, it))),
  i_nlink: value(u32, ({ links }) => known(links, (it) => host(4, it))),
  i_sb: leads(to("super_block"), ({ superBlock }) => superBlock),
  i_private: leads(to("void"), ({ data }) => data),
});

/** What is known of a name. */
export interface DentryFacts {
  readonly name: Uint8Array;
  readonly parent: Thing;
  readonly inode: Thing;
  readonly superBlock: Thing;
}

/** include/linux/dcache.h. */
export const dentry = struct<DentryFacts>("dentry", 320, ["d_name.name", "d_name.len"], {
  "d_name.len": value(u32, ({ name }) => known(name, (it) => host(4, it.length))),
  "d_name.name": leads(to("unsigned char"), ({ name }) =>
    known(name, (it) => text.of({ text: Uint8Array.of(...it, 0) })),
  ),
  d_parent: leads(to("dentry"), ({ parent }) => parent),
  d_inode: leads(to("inode"), ({ inode }) => inode),
  d_sb: leads(to("super_block"), ({ superBlock }) => superBlock),
});

/** What is known of a file system. */
export interface SuperBlockFacts {
  /** As the kernel has it: major << 20 | minor. */
  readonly dev: number;
  readonly magic: number;
  readonly root: Thing;
  /** The block device that it is on; null where it is on none. */
  readonly device: Thing | null;
}

/** include/linux/fs.h. */
export const superBlock = struct<SuperBlockFacts>("super_block", 2048, ["s_dev", "s_magic"], {
  s_dev: value(u32, ({ dev }) => known(dev, (it) => host(4, it))),
  s_magic: value(ulong, ({ magic }) => known(magic, (it) => host(8, it))),
  s_root: leads(to("dentry"), ({ root }) => root),
  s_bdev: leads(to("block_device"), ({ device }) => device),
});

/** What is known of a mount. */
export interface MountFacts {
  readonly root: Thing;
  readonly superBlock: Thing;
  /** As /proc/PID/mountinfo numbers it. */
  readonly id: number;
  readonly parent: Thing;
  /** The folder that it lies over. */
  readonly over: Thing;
  readonly namespace: Thing;
  /** Whether it is one of the kernel's own mounts, which no process sees. */
  readonly isInternal: boolean;
}

/** MNT_NS_INTERNAL of fs/mount.h: an error in place of a namespace. */
const INTERNAL = host(8, -22);

/** include/linux/mount.h; it is part of struct mount. */
export const vfsmount = struct<MountFacts>("vfsmount", 48, ["mnt_sb"], {
  mnt_root: leads(to("dentry"), ({ root }) => root),
  mnt_sb: leads(to("super_block"), ({ superBlock }) => superBlock),
});

/** fs/mount.h. */
export const mount = struct<MountFacts>("mount", 512, ["mnt_id"], {
  mnt_parent: leads(to("mount"), ({ parent }) => parent),
  mnt_mountpoint: leads(to("dentry"), ({ over }) => over),
  "mnt.mnt_root": { ...leads(to("dentry"), ({ root }) => root), isNamed: true },
  "mnt.mnt_sb": { ...leads(to("super_block"), ({ superBlock }) => superBlock), isNamed: true },
  mnt_ns: {
    ...leads(to("mnt_namespace"), ({ namespace }) => namespace),
    holds: ({ isInternal }) => (isInternal ? INTERNAL : undefined),
  },
  mnt_id: value(s32, ({ id }) => known(id, (it) => host(4, it))),
});

/** A table of descriptors: which file each number is, null where none is open. */
export interface TableFacts {
  readonly files: ReadonlyMap<number, Thing | null>;
  /** FDSize of /proc/PID/status. */
  readonly size: number;
}

const POINTER = 8;

/** The array of a table. Its places are what the numbers say. */
const tableOf = (facts: Partial<TableFacts>): Thing => {
  const all = [...(facts.files ?? [])].map(([number, to]) => ({ number, member: `${number}`, to }));
  const leads = new Map(all.map(({ member, to }) => [member, to]));
  return {
    struct: {
      name: "fd_array",
      limit: POINTER * (1 + Math.max(0, ...all.map(({ number }) => number))),
      members: new Map(
        all.map(({ number, member }) => [
          member,
          { type: to("file"), isPointer: true, fixed: POINTER * number },
        ]),
      ),
      keys: [],
      relations: [],
      order: [],
      together: [],
    },
    expected: () => new Map(),
    expectedNow: () => new Map(),
    leads: () => leads,
    parts: [],
  };
};

/** include/linux/fdtable.h. */
export const fdtable = struct<TableFacts>("fdtable", 64, ["fd"], {
  max_fds: value(u32, ({ size }) => known(size, (it) => host(4, it))),
  fd: leads(to("file"), (facts) => tableOf(facts)),
});

export const filesStruct: KnownStruct<TableFacts> = struct<TableFacts>("files_struct", 768, ["fdt"], {
  fdt: leads(to("fdtable"), (facts) => fdtable.of(facts)),
});

/** What is known of where a process works. */
export interface FsFacts {
  readonly pwd: { readonly dentry: Thing; readonly mount?: Thing };
  readonly root: { readonly dentry: Thing; readonly mount?: Thing };
}

/** include/linux/fs_struct.h. */
export const fsStruct = struct<FsFacts>("fs_struct", 128, ["pwd.dentry"], {
  "pwd.dentry": leads(to("dentry"), ({ pwd }) => pwd?.dentry),
  "pwd.mnt": leads(to("vfsmount"), ({ pwd }) => pwd?.mount),
  "root.dentry": leads(to("dentry"), ({ root }) => root?.dentry),
  "root.mnt": leads(to("vfsmount"), ({ root }) => root?.mount),
});
