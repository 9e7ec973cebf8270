import { rename, rm } from "node:fs/promises";
import { basename, join } from "node:path";
import { CachedFolder } from "../../assets/build/cache.ts";
import { type Architecture, openSuite, type Suite } from "../../assets/build/debian.ts";
import { run } from "../../assets/build/run.ts";
import { bootable } from "./vmlinux.ts";

/** A kernel the lab can boot. */
export interface KernelRow {
  readonly name: string;
  /** The suite the kernel comes from. */
  readonly suite: string;
  /** The suite the guest's C library and tools come from; `suite` itself, if not told. */
  readonly userland?: string;
  readonly architecture: Architecture;
}

/** One that Debian built; those that the lab builds are in source.ts. */
export interface LabKernel extends KernelRow {
  /** The package that depends on the newest build. */
  readonly meta: string;
  /** Among the kernels tested without being asked for. */
  readonly usual?: true;
  readonly notes: string;
}

const CLOUD = "linux-image-cloud-amd64";
const PLAIN = "linux-image-amd64";
const RT = "linux-image-rt-amd64";
const ARM64_CLOUD = "linux-image-cloud-arm64";
const ARM64_16K = "linux-image-arm64-16k";

const AMD64: readonly Omit<LabKernel, "architecture">[] = [
  { name: "5.10-cloud", suite: "bullseye", meta: CLOUD, usual: true, notes: "oldest; no BTF in modules" },
  { name: "5.10", suite: "bullseye", meta: PLAIN, notes: "" },
  { name: "6.1-cloud", suite: "bookworm", meta: CLOUD, usual: true, notes: "" },
  { name: "6.1", suite: "bookworm", meta: PLAIN, notes: "crc32c is a module" },
  { name: "6.1-rt", suite: "bookworm", meta: RT, notes: "real-time locks are larger: other offsets" },
  { name: "6.12-backport-cloud", suite: "bookworm-backports", userland: "bookworm", meta: CLOUD, notes: "" },
  { name: "6.12-cloud", suite: "trixie", meta: CLOUD, notes: "first with mdev_us before srtt_us" },
  { name: "6.12", suite: "trixie", meta: PLAIN, notes: "" },
  { name: "6.12-rt", suite: "trixie", meta: RT, notes: "" },
  { name: "forky-cloud", suite: "forky", meta: CLOUD, notes: "7.2 in late 2026; kernel split in packages" },
  { name: "sid-cloud", suite: "sid", meta: CLOUD, notes: "7.2 in late 2026" },
  { name: "sid-rt", suite: "sid", meta: RT, notes: "" },
  {
    name: "experimental-cloud",
    suite: "experimental",
    userland: "sid",
    meta: CLOUD,
    notes: "7.3-rc in late 2026",
  },
];

/** The cpu that they run on (guest.ts) has 48-bit addresses; kernels made for 52 bits turn to 48 on it. */
const ARM64: readonly Omit<LabKernel, "architecture">[] = [
  { name: "arm64-6.1-cloud", suite: "bookworm", meta: ARM64_CLOUD, notes: "48-bit addresses" },
  {
    name: "arm64-6.12-cloud",
    suite: "trixie",
    meta: ARM64_CLOUD,
    usual: true,
    notes: "built for 52-bit addresses",
  },
  { name: "arm64-6.12-16k", suite: "trixie", meta: ARM64_16K, notes: "pages of 16 KiB" },
  { name: "arm64-7.2-16k", suite: "sid", meta: ARM64_16K, notes: "pages of 16 KiB; 7.2 in late 2026" },
];

export const LAB_KERNELS: readonly LabKernel[] = [
  ...AMD64.map((row): LabKernel => ({ ...row, architecture: "amd64" })),
  ...ARM64.map((row): LabKernel => ({ ...row, architecture: "arm64" })),
];

/** For tests that bring nothing into the guest but the executable (executableFor), which is there for each of them. */
export const ARCHITECTURES: readonly Architecture[] = ["amd64", "arm64"];

/**
 * The rows to test: those named in the environment variable OFFSETOF_LAB (names joined by commas, or `all`),
 * else the usual ones. Throws on a name that is not there.
 *
 * @param architectures what the programs that a test brings into the guest can run on
 * @param unasked of which of them the usual rows are tested
 */
export function chosenKernels(
  architectures: readonly Architecture[] = ["amd64"],
  unasked = architectures,
): readonly LabKernel[] {
  const chosen = askedFor(LAB_KERNELS, (name) => !isFromSource(name));
  return chosen === null
    ? LAB_KERNELS.filter(({ architecture, usual }) => usual && unasked.includes(architecture))
    : chosen.filter(({ architecture }) => architectures.includes(architecture));
}

/** How the kernels of source.ts are named; the others are not. */
export const isFromSource = (name: string): boolean => name.startsWith("source-");

/**
 * The rows that OFFSETOF_LAB names; null where it names none, of any list.
 * @param isOfList whether a name is of this list's kind, so that it must be there
 */
export function askedFor<Row extends KernelRow>(
  rows: readonly Row[],
  isOfList: (name: string) => boolean,
): readonly Row[] | null {
  const asked = process.env.OFFSETOF_LAB;
  if (!asked) return null;
  if (asked === "all") return rows;
  return asked
    .split(",")
    .filter(isOfList)
    .map((name) => rowOf(rows, name));
}

/** The row of a name. Throws when there is none, with the names there are. */
export function rowOf<Row extends KernelRow>(rows: readonly Row[], name: string): Row {
  const row = rows.find((each) => each.name === name);
  if (row) return row;
  throw new Error(`No lab kernel ${name}; there are: ${rows.map((each) => each.name).join(", ")}`);
}

export const labKernel = (name: string): LabKernel => rowOf(LAB_KERNELS, name);

/** A kernel that is ready to boot. */
export interface BootableKernel {
  readonly row: KernelRow;
  /** Path of what QEMU boots: the uncompressed ELF file, or on arm64 the raw Image. */
  readonly vmlinux: string;
  /** Named modules and all they need, in the order to insert them. Built-in ones are left out. */
  modules(names: readonly string[]): Promise<KernelModule[]>;
}

/** A kernel of Debian's, fetched and unpacked. */
export interface LoadedKernel extends BootableKernel {
  readonly row: LabKernel;
  /** What `uname -r` prints in it. */
  readonly release: string;
  /** Path of its raw BTF. */
  readonly btf: string;
}

export interface KernelModule {
  /** As /proc/modules spells it. */
  readonly name: string;
  /** The uncompressed ELF file. */
  readonly content: Uint8Array;
}

/**
 * The kernel of a row, fetched on first use and kept in the cache. Delete the cache folder to go on to the
 * suite's newest build.
 */
export async function loadKernel(row: LabKernel): Promise<LoadedKernel> {
  const cached = await CachedFolder.open(`kernels/${row.name}`, (folder) => fetchKernel(row, folder));
  const release = new TextDecoder().decode(await cached.read("release")).trim();
  return {
    row,
    release,
    vmlinux: await cached.path("vmlinux"),
    btf: await cached.path("vmlinux.btf"),
    modules: (names) => modulesInOrder(cached, release, names),
  };
}

/** Leaves `release`, `vmlinux`, `vmlinux.btf` and `lib/modules/<release>` with depmod's index in `folder`. */
async function fetchKernel(row: LabKernel, folder: string): Promise<void> {
  const suite = await openSuite(row.suite, row.architecture);
  const unpacked = join(folder, "unpacked");
  for (const name of await kernelPackages(suite, row.meta)) await suite.unpack(name, unpacked);

  const image = await onlyPath(unpacked, ["boot/vmlinuz-*", "usr/lib/modules/*/vmlinuz"]);
  const modules = await onlyPath(unpacked, ["lib/modules/*/kernel", "usr/lib/modules/*/kernel"]);
  const release = basename(join(modules, ".."));
  await Bun.write(join(folder, "release"), `${release}\n`);
  const { kernel, btf } = await bootable[row.architecture](image);
  await Bun.write(join(folder, "vmlinux"), kernel);
  await Bun.write(join(folder, "vmlinux.btf"), btf);

  await Bun.write(join(folder, "lib/modules/.keep"), "");
  await rename(join(modules, ".."), join(folder, "lib/modules", release));
  await run(["depmod", "--basedir", folder, release]);
  await rm(unpacked, { recursive: true });
}

/**
 * The packages holding the kernel behind a meta package: up to 6.x one linux-image-<release>, from 7.x on
 * that one is empty and needs linux-binary-<release> and linux-modules-<release>.
 */
export async function kernelPackages(suite: Suite, meta: string): Promise<string[]> {
  const names = [meta];
  // Grows while it is walked.
  for (const name of names) {
    const depends = await suite.depends(name);
    names.push(...depends.filter((each) => KERNEL_PACKAGE.test(each) && !names.includes(each)));
  }
  return names.filter((name) => KERNEL_PACKAGE.test(name));
}

const KERNEL_PACKAGE = /^linux-(image|binary|modules)-\d/;

async function onlyPath(folder: string, patterns: readonly string[]): Promise<string> {
  const found: string[] = [];
  for (const pattern of patterns)
    for await (const path of new Bun.Glob(pattern).scan({ cwd: folder, absolute: true, onlyFiles: false }))
      found.push(path);
  const [first] = found;
  if (first !== undefined && found.length === 1) return first;
  throw new Error(`${folder}: ${found.length} paths match ${patterns.join(" or ")}, expected one`);
}

/**
 * What `modprobe` would insert, and in which order. It also reads softdep, which depends= is silent about:
 * libcrc32c needs some crc32c, and only there says so.
 */
async function modulesInOrder(
  cached: CachedFolder,
  release: string,
  names: readonly string[],
): Promise<KernelModule[]> {
  const modprobe = ["modprobe", "--config", "/dev/null", "--dirname", cached.folder];
  const modules = new Map<string, KernelModule>();
  for (const name of names) {
    const { stdout } = await run([...modprobe, "--set-version", release, "--show-depends", name]);
    for (const [, path = ""] of stdout.matchAll(/^insmod (\S+)/gm)) {
      if (modules.has(path)) continue;
      const bytes = await cached.read(path.slice(cached.folder.length + 1));
      const content = path.endsWith(".xz") ? await unxz(bytes) : bytes;
      modules.set(path, {
        name: basename(path)
          .replace(/\.ko.*$/, "")
          .replaceAll("-", "_"),
        content,
      });
    }
  }
  return [...modules.values()];
}

async function unxz(bytes: Uint8Array<ArrayBuffer>): Promise<Uint8Array> {
  const child = Bun.spawn(["xz", "-dc"], { stdin: bytes, stdout: "pipe" });
  return new Uint8Array(await new Response(child.stdout).arrayBuffer());
}
