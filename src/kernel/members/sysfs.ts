import { host, raw } from "../../offsets/values.ts";
import { array, char } from "../synthetic/ctype.ts";
import { text } from "./file.ts";
import { ended, known, leads, struct, type Thing, value } from "./row.ts";
import { s32, to, u8, u32, u64 } from "./typedefs.ts";

/** What is known of the object behind a folder of sysfs. */
export interface ObjectFacts {
  readonly name: string;
  readonly node: Thing;
  /** The object of the folder above. */
  readonly parent: Thing;
}

/** include/linux/kobject.h; 64 bytes, with CONFIG_DEBUG_KOBJECT_RELEASE some 100 more. */
export const kobject = struct<ObjectFacts>("kobject", 64, ["name", "sd"], {
  name: leads(to("char"), ({ name }) => known(name, (it) => text.of({ text: ended(it) }))),
  parent: leads(to("kobject"), ({ parent }) => parent),
  sd: leads(to("kernfs_node"), ({ node }) => node),
});

/**
 * Bytes. A kobject lies within another struct, whose pointers are looked for at most so far before the kobject, and behind it as far as
 * `limit` says.
 */
const BEFORE = 768;

/** What the object of a block device lies in: since Linux 5.11 struct block_device. */
export const aroundBlock = struct<{ readonly disk: Thing }>(
  "what a block device's kobject lies in",
  1024,
  ["bd_disk"],
  { bd_disk: { ...leads(to("gendisk"), ({ disk }) => disk), isNamed: true } },
  { before: BEFORE },
);

/** What is known of a disk, and of what it is to who opens it: /sys/block. */
export interface DiskFacts {
  readonly name: string;
  readonly major: number;
  readonly minor: number;
  /** The block device that is the whole disk. */
  readonly device: Thing;
  readonly queue: Thing;
  /** Whether it has no partitions. */
  readonly isWhole: boolean;
}

/** include/linux/blkdev.h, before Linux 5.16 genhd.h; 0.6 to 1.3 KiB. */
export const gendisk = struct<DiskFacts>(
  "gendisk",
  1536,
  ["major", "first_minor", "disk_name"],
  {
    major: value(s32, ({ major }) => known(major, (it) => host(4, it))),
    first_minor: value(s32, ({ minor }) => known(minor, (it) => host(4, it))),
    disk_name: value(array(char, 32), ({ name }) => known(name, (it) => raw(ended(it)))),
    // A disk without partitions has part0 alone in this table, so that its head is that pointer.
    "part_tbl.xa_head": {
      ...leads(to("void"), ({ device, isWhole }) => (isWhole === true ? device : undefined)),
      isNamed: true,
      since: [5, 12],
    },
    // Before it was no pointer.
    part0: { ...leads(to("block_device"), ({ device }) => device), since: [5, 11] },
    queue: leads(to("request_queue"), ({ queue }) => queue),
  },
  {
    relations: [
      {
        kind: "adjacent",
        first: "part_tbl.xa_head",
        second: "part0",
        because: "gendisk declares part0 behind part_tbl, whose last member is xa_head",
      },
    ],
  },
);

/** What is known of a disk or a part of it. */
export interface BlockFacts {
  /** As the kernel has it: major << 20 | minor. */
  readonly dev: number;
  readonly disk: Thing;
  /** 0: all of the disk. */
  readonly part: number;
  /** In sectors of 512 bytes. */
  readonly size: bigint;
  readonly queue: Thing;
  /** The node of its folder of sysfs. */
  readonly node: Thing;
}

/** include/linux/blk_types.h; 0.2 to 1.3 KiB. */
export const blockDevice = struct<BlockFacts>(
  "block_device",
  1536,
  ["bd_dev", "bd_disk"],
  {
    bd_dev: value(u32, ({ dev }) => known(dev, (it) => host(4, it))),
    bd_disk: leads(to("gendisk"), ({ disk }) => disk),
    // Since Linux 6.10 it is the lowest byte of __bd_flags.
    bd_partno: { ...value(u8, ({ part }) => known(part, (it) => host(1, it))), until: [6, 10] },
    bd_nr_sectors: { ...value(u64, ({ size }) => known(size, (it) => host(8, it))), since: [5, 16] },
    bd_queue: { ...leads(to("request_queue"), ({ queue }) => queue), since: [5, 16] },
    "bd_device.kobj.sd": { ...leads(to("kernfs_node"), ({ node }) => node), isNamed: true, since: [5, 11] },
  },
  {
    relations: [
      {
        kind: "before",
        first: "bd_dev",
        second: "bd_device.kobj.sd",
        because: "block_device declares bd_device, which has the same number, behind bd_dev",
      },
    ],
  },
);

/** include/linux/blkdev.h; 0.7 to 2.2 KiB. */
export const requestQueue = struct<{ readonly disk: Thing }>("request_queue", 2560, ["disk"], {
  disk: { ...leads(to("gendisk"), ({ disk }) => disk), since: [5, 15] },
});

/** What the object of an interrupt lies in: struct irq_desc of include/linux/irqdesc.h. */
export const aroundInterrupt = struct<{ readonly action: Thing }>(
  "what an interrupt's kobject lies in",
  64,
  ["action"],
  { action: { ...leads(to("irqaction"), ({ action }) => action), isNamed: true } },
  { before: BEFORE },
);

/** What is known of who handles an interrupt: /sys/kernel/irq. */
export interface ActionFacts {
  readonly interrupt: number;
  readonly name: string;
}

/** include/linux/interrupt.h; 128 bytes. */
export const irqaction = struct<ActionFacts>("irqaction", 192, ["irq", "name"], {
  irq: value(u32, ({ interrupt }) => known(interrupt, (it) => host(4, it))),
  name: leads(to("char"), ({ name }) => known(name, (it) => text.of({ text: ended(it) }))),
});
