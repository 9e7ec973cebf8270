import { basename, dirname } from "node:path";
import { fileSystem, memoryFile, O_RDONLY, O_RDWR, statusOf } from "../../../ffi/descriptors.ts";
import { SystemError } from "../../../ffi/error.ts";
import type { FileDescriptor } from "../../../ffi/libc.ts";
import {
  changeOwner,
  duplicateAbove,
  flagsOf,
  O_APPEND,
  O_DIRECTORY,
  O_NONBLOCK,
  O_WRONLY,
  openFile,
  openPipe,
  resize,
  seek,
} from "../../../ffi/process.ts";
import { randomInt } from "../../self/random.ts";
import { kernfsNode, type NodeFacts } from "../members/cgroup.ts";
import {
  type DentryFacts,
  dentry,
  type FileFacts,
  file,
  inode,
  type SuperBlockFacts,
  superBlock,
} from "../members/file.ts";
import type { Thing } from "../members/row.ts";
import { kobject } from "../members/sysfs.ts";
import { defined, type Mutable } from "./known-facts.ts";
import type { Mount, Mounts } from "./mounted.ts";
import { isFirstNumbering, kernelDevice, read } from "./procfs.ts";

/** A file of ours, and what the kernel has of it. */
export interface OpenFile {
  readonly descriptor: FileDescriptor;
  readonly file: Thing;
  readonly inode: Thing;
  readonly dentry: Thing;
  /** The mount that it was opened by; undefined where the kernel does not tell it. */
  readonly mount?: Thing;
  /** Its kernfs_node, which only files of sysfs and of control groups have. */
  readonly node?: Thing;
  /** Facts about the things above, to which more may be added. */
  readonly known: {
    readonly dentry: Mutable<Partial<DentryFacts>>;
    readonly mount: Mount["facts"];
    readonly block: Mutable<Partial<SuperBlockFacts>>;
    readonly node: Mutable<Partial<NodeFacts>>;
    /** The number of its mount in /proc/self/mountinfo. */
    readonly id: string | null;
  };
}

const FMODE_READ = 1;
const FMODE_WRITE = 2;
const FMODE_ANYWHERE = 4 | 8 | 16; // FMODE_LSEEK, PREAD, PWRITE

/** PROC, SYSFS, CGROUP2, TMPFS, PIPEFS and SOCKFS of linux/magic.h: file systems that are on no device. */
const inMemory: ReadonlySet<number> = new Set([
  0x9fa0, 0x62656572, 0x63677270, 0x01021994, 0x50495045, 0x534f434b,
]);
/** SYSFS_MAGIC, CGROUP2_SUPER_MAGIC: file systems whose inodes lead to a kernfs_node. */
const kernfs: ReadonlySet<number> = new Set([0x62656572, 0x63677270]);
/**
 * Folders whose names the kernel put together with a number, so that they were allocated. Other names lie among its constants, not
 * aligned.
 */
const numbered = [
  "/sys/devices/system/cpu/cpu0",
  "/sys/devices/system/cpu/cpu1",
  "/sys/devices/system/node/node0",
  "/sys/devices/system/clocksource/clocksource0",
  "/sys/devices/system/clockevents/clockevent0",
  "/sys/kernel/irq/0",
] as const;

const bytes = (text: string): Uint8Array => new TextEncoder().encode(text);

/** Files that are open here, by what is the same of them. */
export class Files {
  readonly open: OpenFile[] = [];
  /** The block device of a number, major << 20 | minor. */
  deviceOf: (dev: number) => Thing | undefined = () => undefined;
  readonly #inodes = new Map<
    string,
    { readonly thing: Thing; readonly node?: Thing; readonly facts: Mutable<Partial<NodeFacts>> }
  >();
  readonly #dentries = new Map<
    string,
    { readonly facts: Mutable<Partial<DentryFacts>>; readonly thing: Thing }
  >();
  readonly #blocks = new Map<
    number,
    { readonly facts: Mutable<Partial<SuperBlockFacts>>; readonly thing: Thing }
  >();
  readonly #areNumbersKnown = isFirstNumbering();

  constructor(
    private readonly owned: DisposableStack,
    /** With which this thread opens files. */
    public cred: Thing,
    private readonly mounts: Mounts,
  ) {}

  /** Files of all kinds. */
  openAll(): void {
    for (let index = 0; index < 4; index++) this.#tryOpen(() => this.#openMemory(40 + 7 * index));
    this.#tryOpen(() => {
      for (const [at, end] of openPipe().entries())
        this.#add(this.owned.use(end), { mode: at === 0 ? FMODE_READ : FMODE_WRITE });
    });
    for (const [path, flags] of [
      ["/dev/null", O_RDWR],
      ["/dev/zero", O_RDONLY | O_NONBLOCK],
      ["/dev/full", O_WRONLY | O_APPEND],
    ] as const)
      this.openNamed(path, flags);
    for (const path of [
      "/proc/version",
      "/proc/filesystems",
      "/proc/sys/kernel/osrelease",
      "/proc/sys/kernel/random/boot_id",
      "/sys/kernel/notes",
      "/sys/kernel/mm/transparent_hugepage/enabled",
    ]) {
      const one = this.openNamed(path, O_RDONLY);
      const folder = this.openFolder(path.slice(0, path.lastIndexOf("/")));
      if (one !== null && folder !== null) this.#setParent(one, folder);
    }
    for (const path of numbered) {
      const [one, folder] = [this.openFolder(path), this.openFolder(dirname(path))];
      if (one === null || folder === null) continue;
      this.#setParent(one, folder);
      this.addObject(one, path, { folder: this.addObject(folder, dirname(path)) });
    }
    for (const path of ["/proc", "/sys"]) {
      const root = this.openFolder(path);
      if (root === null || !this.mounts.isWhole(root.known.id)) continue;
      this.#setParent(root, root);
      root.known.mount.root = root.dentry;
      root.known.block.root = root.dentry;
    }
  }

  /** A file by its name; null where there is none. */
  openNamed(path: string, flags: number): OpenFile | null {
    return this.#tryOpen(() =>
      this.#add(this.owned.use(openFile(path, flags)), { name: path.slice(path.lastIndexOf("/") + 1) }),
    );
  }

  /** What a process executes, by another file of ours; null where that cannot be told. */
  executableOf(pid: number): Thing | null {
    const one = this.#tryOpen(() =>
      this.#add(this.owned.use(openFile(`/proc/${pid}/exe`, O_RDONLY)), { isForeign: true }),
    );
    return one && file.of({ inode: one.inode, dentry: one.dentry });
  }

  /** @param folder itself where it is the first of its file system: as a name that leads to itself, as a node nowhere */
  #setParent({ known, node }: OpenFile, folder: OpenFile): void {
    known.dentry.parent = folder.dentry;
    if (folder.node !== undefined) known.node.parent = folder.node === node ? null : folder.node;
  }

  /**
   * The object behind a folder of sysfs, whose name is the last of its path.
   * @param folder the object of the one above @param parts what begins where it does @returns undefined where it has none
   */
  addObject(
    { known, node }: OpenFile,
    path: string,
    { folder, parts = [] }: { readonly folder?: Thing | undefined; readonly parts?: readonly Thing[] } = {},
  ): Thing | undefined {
    if (node === undefined) return undefined;
    const name = basename(path);
    known.node.name = name;
    known.node.object ??= kobject.of(defined({ name, node, parent: folder }), { parts });
    return known.node.object;
  }

  /** A file that was opened with other credentials. */
  openAs(cred: Thing): void {
    this.#tryOpen(() => this.#add(this.owned.use(openFile("/dev/null", O_WRONLY)), { name: "null", cred }));
  }

  /**
   * A file by its descriptor.
   * @param data what its kind keeps of it
   * @param isAnonymous whether it shares its inode with all of its kind, and has a dentry of its own
   * @returns the file that it is
   */
  add(descriptor: FileDescriptor, data: Thing, isAnonymous = false): Thing {
    return this.#add(descriptor, { data, isAnonymous }).file;
  }

  /** A folder, as a place to work in. @param isNamed whether its own name is the last of its path, as where nothing is mounted */
  openFolder(path: string, isNamed = /^\/\w+\/./.test(path)): OpenFile | null {
    return this.#tryOpen(() =>
      this.#add(this.owned.use(openFile(path, O_RDONLY | O_DIRECTORY)), {
        ...(isNamed && { name: path.slice(path.lastIndexOf("/") + 1) }),
        isFolder: true,
      }),
    );
  }

  #tryOpen<Result>(open: () => Result): Result | null {
    try {
      return open();
    } catch (error) {
      if (error instanceof SystemError) return null;
      throw error;
    }
  }

  /** A file in memory, with a size, an owner and a position that nothing else has. */
  #openMemory(length: number): void {
    const name = crypto.randomUUID().repeat(3).slice(0, length);
    const descriptor = this.owned.use(memoryFile(name, new Uint8Array()));
    resize(descriptor, randomInt(1, 2 ** 40));
    const position = seek(descriptor, randomInt(1, 2 ** 40));
    try {
      changeOwner(descriptor, randomInt(1, 2 ** 30), randomInt(1, 2 ** 30));
    } catch {
      // Without the right to give files away all are ours.
    }
    this.#add(descriptor, {
      name: `memfd:${name}`,
      position,
      mode: FMODE_READ | FMODE_WRITE | FMODE_ANYWHERE,
    });
  }

  #add(
    descriptor: FileDescriptor,
    {
      name,
      mode,
      position,
      isFolder = false,
      isForeign = false,
      isAnonymous = false,
      data,
      cred = this.cred,
    }: {
      readonly name?: string;
      readonly mode?: number;
      readonly position?: number;
      readonly isFolder?: boolean;
      /** Of a file system that may tell of another inode than its own, as overlayfs does. */
      readonly isForeign?: boolean;
      readonly isAnonymous?: boolean;
      readonly data?: Thing;
      readonly cred?: Thing;
    },
  ): OpenFile {
    const stat = statusOf(descriptor.fd, name ?? "a file of ours");
    const block = this.#block(descriptor, stat.dev);
    const key = `${stat.dev} ${stat.ino}`;
    const before = this.#inodes.get(key);
    const nodeFacts: Mutable<Partial<NodeFacts>> = before?.facts ?? { id: stat.ino };
    const isNode = !isForeign && kernfs.has(fileSystem(descriptor.fd).type);
    const node = before?.node ?? (isNode ? kernfsNode.of(nodeFacts) : undefined);
    const inodeThing =
      before?.thing ??
      inode.of({
        ...(node !== undefined && { data: node }),
        ...(!isForeign && { ino: stat.ino, mode: Number(stat.mode), superBlock: block.thing }),
        ...(!isForeign &&
          !isFolder && { links: Number(stat.nlink), size: stat.size, rdev: kernelDevice(stat.rdev) }),
        ...(!isForeign && this.#areNumbersKnown && { uid: Number(stat.uid), gid: Number(stat.gid) }),
      });
    this.#inodes.set(key, { thing: inodeThing, facts: nodeFacts, ...(node !== undefined && { node }) });
    const dentryKey = isAnonymous ? `${key} of ${descriptor.fd}` : `${key} ${name ?? ""}`;
    const named =
      this.#dentries.get(dentryKey) ?? newDentry(name, inodeThing, isForeign ? undefined : block.thing);
    this.#dentries.set(dentryKey, named);
    const mount = this.#mount(descriptor, isForeign ? undefined : block.thing);
    const flags = flagsOf(descriptor);
    const access = [FMODE_READ, FMODE_WRITE, FMODE_READ | FMODE_WRITE][flags & 3];
    const facts: Partial<FileFacts> = {
      flags,
      ...(mode !== undefined && access === (mode & 3) && { mode }),
      position: position ?? 0,
      inode: inodeThing,
      dentry: named.thing,
      ...(mount !== null && { mount: mount.thing }),
      cred,
      ...(data !== undefined && { data }),
    };
    const one: OpenFile = {
      descriptor,
      file: file.of(facts),
      inode: inodeThing,
      dentry: named.thing,
      ...(mount !== null && { mount: mount.thing }),
      ...(node !== undefined && { node }),
      known: {
        dentry: named.facts,
        mount: mount?.facts ?? {},
        block: block.facts,
        node: nodeFacts,
        id: mount?.id ?? null,
      },
    };
    this.open.push(one);
    return one;
  }

  #block({ fd }: FileDescriptor, dev: bigint) {
    const number = kernelDevice(dev);
    const known = this.#blocks.get(number);
    if (known !== undefined) return known;
    const magic = fileSystem(fd).type;
    const device = inMemory.has(magic) ? null : this.deviceOf(number);
    const facts: Mutable<Partial<SuperBlockFacts>> = { dev: number, magic, ...defined({ device }) };
    const made = { facts, thing: superBlock.of(facts) };
    this.#blocks.set(number, made);
    return made;
  }

  #mount({ fd }: FileDescriptor, block: Thing | undefined): Mount | null {
    const [, id] = /^mnt_id:\s*(\d+)$/m.exec(read(`/proc/self/fdinfo/${fd}`) ?? "") ?? [];
    if (id === undefined) return null;
    const made = this.mounts.get(id, fileSystem(fd).type);
    if (block !== undefined) made.facts.superBlock = block;
    return made;
  }

  /**
   * Makes the table of descriptors larger than the one that struct files_struct has in it, with a pattern that nothing
   * else has. @returns which file each number is
   */
  pattern(least: number): Map<number, Thing | null> {
    const table = new Map<number, Thing | null>();
    const [a, b, c] = this.open;
    if (a === undefined || b === undefined || c === undefined) return table;
    for (const [index, one] of [a, b, a, c, b, a, c, c, a].entries()) {
      const copy = this.owned.use(duplicateAbove(one.descriptor, least + 2 * index));
      table.set(copy.fd, one.file);
    }
    for (const one of this.open) if (one.descriptor.fd < 300) table.set(one.descriptor.fd, one.file);
    return table;
  }
}

function newDentry(name: string | undefined, inode: Thing, block: Thing | undefined) {
  const facts: Mutable<Partial<DentryFacts>> = {
    inode,
    ...(block !== undefined && { superBlock: block }),
    ...(name !== undefined && { name: bytes(name) }),
  };
  return { facts, thing: dentry.of(facts) };
}
