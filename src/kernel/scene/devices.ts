import { readdirSync, realpathSync } from "node:fs";
import { basename, dirname } from "node:path";
import { known, type Thing } from "../members/row.ts";
import {
  aroundBlock,
  aroundInterrupt,
  type BlockFacts,
  blockDevice,
  gendisk,
  irqaction,
  requestQueue,
} from "../members/sysfs.ts";
import { defined, type Mutable } from "./known-facts.ts";
import type { Files, OpenFile } from "./open-files.ts";
import { read } from "./procfs.ts";

/** How many interrupts and how many disks are looked at. */
const MOST = 4;

/** A disk, and what all of it is as a device. */
interface Disk {
  readonly disk: Thing;
  readonly facts: Mutable<Partial<BlockFacts>>;
  readonly device: Thing;
}

/** Interrupts and block devices by their folders of sysfs: none of them is opened. */
export class Devices {
  readonly #disks = new Map<string, Disk>();
  readonly #parts = new Map<number, Thing>();

  constructor(private readonly files: Files) {}

  /** Adds the first interrupts and disks of sysfs to the files of the scene. */
  lookAtAll(): void {
    for (const { folder, interrupt, name } of interrupts())
      this.#add(folder, () => aroundInterrupt.of({ action: irqaction.of({ interrupt, name }) }));
    for (const folder of diskFolders())
      this.#add(folder, ({ node }) => {
        const { disk, facts } = this.#disk(folder);
        if (node !== undefined) facts.node = node;
        return aroundBlock.of({ disk });
      });
  }

  /** The device that a file system is on. @param dev as the kernel has it: major << 20 | minor */
  of(dev: number): Thing | undefined {
    const folder = realPath(`/sys/dev/block/${dev >>> 20}:${dev & 0xfffff}`);
    const part = folder === null ? undefined : numberIn(folder, "partition");
    if (folder === null) return undefined;
    if (part === undefined) return this.#disk(folder).device;
    const whole = this.#disk(dirname(folder));
    const before = this.#parts.get(dev);
    const { disk, facts } = whole;
    const made =
      before ?? blockDevice.of({ ...factsOf(folder), part: Number(part), disk, ...queueOf(facts) });
    this.#parts.set(dev, made);
    return made;
  }

  #disk(folder: string): Disk {
    const before = this.#disks.get(folder);
    if (before !== undefined) return before;
    // Each leads to the others.
    const facts: Disk["facts"] = { ...factsOf(folder), part: 0 };
    const [queue, device] = [requestQueue.of(facts), blockDevice.of(facts)];
    const { dev } = facts;
    const disk = gendisk.of({
      name: basename(folder).replaceAll("!", "/"), // a slash is none in a folder's name
      ...(dev !== undefined && { major: dev >>> 20, minor: dev & 0xfffff }),
      device,
      queue,
      isWhole: !namesIn(folder).some((name) => name.startsWith(basename(folder))),
    });
    Object.assign(facts, { queue, disk });
    const made = { disk, facts, device };
    this.#disks.set(folder, made);
    return made;
  }

  /** @param around what the folder's object lies in */
  #add(folder: string, around: (one: OpenFile) => Thing): void {
    const one = this.files.openFolder(folder);
    if (one !== null) this.files.addObject(one, folder, { parts: [around(one)] });
  }
}

const queueOf = ({ queue }: Partial<BlockFacts>) => defined({ queue });

/** What a block device's folder tells of it. */
function factsOf(folder: string): Partial<BlockFacts> {
  const [, major, minor] = /^(\d+):(\d+)$/m.exec(read(`${folder}/dev`) ?? "") ?? [];
  return defined({
    dev: known(major, (it) => Number(it) * 2 ** 20 + Number(minor)),
    size: known(numberIn(folder, "size"), BigInt),
  });
}

const numberIn = (folder: string, file: string): string | undefined =>
  /^\d+$/m.exec(read(`${folder}/${file}`) ?? "")?.[0];

function namesIn(place: string): string[] {
  try {
    return readdirSync(place);
  } catch {
    return [];
  }
}

function realPath(path: string): string | null {
  try {
    return realpathSync(path);
  } catch {
    return null;
  }
}

/** Interrupts that one driver alone handles. */
function interrupts() {
  const place = "/sys/kernel/irq";
  const found = namesIn(place).flatMap((number) => {
    const folder = `${place}/${number}`;
    const name = read(`${folder}/actions`)?.trimEnd() ?? "";
    return name === "" || name.includes(",") ? [] : [{ folder, interrupt: Number(number), name }];
  });
  return found.slice(-MOST);
}

/** Some block devices of each driver. */
function diskFolders(): string[] {
  const byDriver = Map.groupBy(namesIn("/sys/block"), (name) => name.replace(/\d+$/, ""));
  const turns = [0, 1, 2].flatMap((turn) => [...byDriver.values()].flatMap((all) => all[turn] ?? []));
  return turns.slice(0, MOST).flatMap((name) => realPath(`/sys/block/${name}`) ?? []);
}
