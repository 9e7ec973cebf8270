/** Kernels that the lab builds from Debian's source: small ones, without BTF, as no distribution configures them. */
import { mkdtemp } from "node:fs/promises";
import { availableParallelism, tmpdir } from "node:os";
import { join } from "node:path";
import { CachedFolder, cacheFolder } from "../../assets/build/cache.ts";
import { loadPackage } from "../../assets/build/debian.ts";
import { attempt, run } from "../../assets/build/run.ts";
import { kernelFields } from "../../src/kernel/fields/fields.ts";
import { askedFor, type BootableKernel, isFromSource, type KernelRow, rowOf } from "./kernels.ts";

/** A kernel to build. */
export interface SourceKernel extends KernelRow {
  /** The package of `suite` that holds the source. */
  readonly source: string;
  /** Of the folder linux/, each over those before it; `base` comes before them all. */
  readonly fragments: readonly string[];
  /** Of CONFIG_RANDSTRUCT: 64 hexadecimal digits, by which structs are laid out. */
  readonly seed?: string;
  /** Tested, and built for it, without being asked for. */
  readonly usual?: true;
  readonly notes: string;
}

const SEEDS = [
  "e720eef320a6f30bafd8ade62e8c56409cb9922ee5429955f965f1ac8a7abe9a",
  "5a17b9f0c4d26e83917f3ab05dce4418e2076b9ad3f51c8840be6d729fa3c165",
] as const;

const ROWS: readonly Pick<SourceKernel, "name" | "fragments" | "seed" | "usual" | "notes">[] = [
  {
    name: "source-randstruct",
    fragments: ["randstruct"],
    seed: SEEDS[0],
    notes: "randomized layouts",
  },
  { name: "source-randstruct-2", fragments: ["randstruct"], seed: SEEDS[1], notes: "another seed" },
  {
    name: "source-lockdep",
    fragments: ["randstruct", "lockdep"],
    seed: SEEDS[0],
    notes: "locks are larger: struct net is 5 KiB and more",
  },
  {
    name: "source-bare",
    fragments: ["bare"],
    usual: true,
    notes: "no NET_NS, IPV6, SMP, CGROUPS, BPF_JIT; SLOB",
  },
  { name: "source-nokprobes", fragments: ["nokprobes"], notes: "no KPROBES, MODULES, PACKET" },
  { name: "source-tools", fragments: ["tools"], notes: "tracepoints of system calls and of block devices" },
];

export const SOURCE_KERNELS: readonly SourceKernel[] = ROWS.map((row) => ({
  ...row,
  suite: "bookworm",
  architecture: "amd64",
  source: "linux-source-6.1",
}));

/** The rows to test: those that OFFSETOF_LAB names (see `chosenKernels`), else the usual ones. */
export const chosenSourceKernels = (): readonly SourceKernel[] =>
  askedFor(SOURCE_KERNELS, isFromSource) ?? SOURCE_KERNELS.filter(({ usual }) => usual);

export const sourceKernel = (name: string): SourceKernel => rowOf(SOURCE_KERNELS, name);

/** A kernel that was built, and what the compiler said of it. */
export interface BuiltKernel extends BootableKernel {
  readonly row: SourceKernel;
  /** Byte offsets by `type.member`; null: this kernel has no such member. */
  readonly truth: ReadonlyMap<string, number | null>;
  /** What its build took, in seconds, when it was built. */
  readonly seconds: number;
}

/**
 * Builds a kernel on first use, which takes minutes, and keeps it in the cache under a name in which is all that it is made
 * of, and the members that are asked for. Another process that wants the same kernel waits for it.
 */
export async function buildKernel(row: SourceKernel): Promise<BuiltKernel> {
  const source = await loadPackage(row.suite, row.source);
  const config = await configOf(row);
  const compiler = (await run(["gcc-12", "-dumpfullversion"])).stdout;
  const told = JSON.stringify([source.version, compiler, config, row.seed, MEMBERS, HEADERS]);
  const key = new Bun.CryptoHasher("sha256").update(told).digest("hex").slice(0, 16);
  await using _ = await locked(`kernels/${row.name}.lock`);
  const cached = await CachedFolder.open(`kernels/${row.name}-${key}`, async (folder) => {
    const archive = await source.cached.path(`root/usr/src/${row.source}.tar.xz`);
    await fill(archive, config, row.seed, folder);
  });
  const read = async (path: string): Promise<string> => new TextDecoder().decode(await cached.read(path));
  return {
    row,
    vmlinux: await cached.path("vmlinux"),
    modules: async () => [], // what the others have in modules is built in
    truth: sizesOf(await read("symbols")),
    seconds: Number(await read("seconds")),
  };
}

async function configOf({ name, fragments }: SourceKernel): Promise<string> {
  const parts = ["base", ...fragments].map((part) =>
    Bun.file(join(import.meta.dir, `linux/${part}.config`)).text(),
  );
  return [...(await Promise.all(parts)), `CONFIG_LOCALVERSION="-${name}"\n`].join("");
}

/** Leaves `vmlinux`, `symbols` and `seconds` in `folder`. */
async function fill(
  archive: string,
  config: string,
  seed: string | undefined,
  folder: string,
): Promise<void> {
  const started = performance.now();
  const tree = await mkdtemp(join(tmpdir(), "offsetof-linux-"));
  try {
    const unneeded = UNNEEDED.map((pattern) => `--exclude=${pattern}`);
    await run(["tar", "--extract", "--file", archive, "--strip-components=1", ...unneeded], { cwd: tree });
    if (seed !== undefined) await fixSeed(tree, seed);
    await Bun.write(join(tree, "lab.config"), config);
    await make(tree, "KCONFIG_ALLCONFIG=lab.config", "allnoconfig");
    checkConfig(config, await Bun.file(join(tree, ".config")).text());
    await make(tree, `-j${availableParallelism()}`, "vmlinux");
    await run(["strip", "--strip-debug", "-o", join(folder, "vmlinux"), "vmlinux"], { cwd: tree });
    await Bun.write(join(folder, "symbols"), await symbolsIn(tree));
    await Bun.write(join(folder, "seconds"), Math.round((performance.now() - started) / 1000).toString());
  } finally {
    await run(["rm", "-r", tree]);
  }
}

/** More than half of the source, of which these kernels have nothing: what Kconfig reads stays. */
const UNNEEDED = [
  ...["gpu", "infiniband", "media", "net/ethernet", "net/wireless", "scsi", "staging", "usb"].map(
    (name) => `*/drivers/${name}/*.[ch]`,
  ),
  ...[
    "*/sound/*.[ch]",
    "*/tools/perf",
    "*/tools/testing",
    "*/Documentation/*.[rty]*",
    "*/arch/[!x]*/*.[chdS]*",
  ],
];

/** What the build would say of the machine and the hour. */
const ANONYMOUS = ["KBUILD_BUILD_USER=lab", "KBUILD_BUILD_HOST=lab", "KBUILD_BUILD_TIMESTAMP=@0"];

/** The newest that this source's plugins compile with. */
const COMPILER = ["CC=gcc-12", "HOSTCC=gcc-12", "HOSTCXX=g++-12"];

const makeCommand = (...args: readonly string[]) => ["make", "-s", ...COMPILER, ...ANONYMOUS, ...args];
const make = (tree: string, ...args: readonly string[]) => run(makeCommand(...args), { cwd: tree });

/** The script takes it from /dev/urandom; versions of symbols, without modules to load, would cost a third of the build. */
async function fixSeed(tree: string, seed: string): Promise<void> {
  await edit(join(tree, "scripts/gen-randstruct-seed.sh"), /^SEED=.*$/m, `SEED=${seed}`);
  await edit(join(tree, "security/Kconfig.hardening"), /^\s*select MODVERSIONS if MODULES\n/gm, "");
}

async function edit(path: string, from: RegExp, to: string): Promise<void> {
  const before = await Bun.file(path).text();
  const after = before.replace(from, to);
  if (after === before) throw new Error(`${path} has no ${from}`);
  await Bun.write(path, after);
}

/** Kconfig drops silently what depends on something else that is missing. */
function checkConfig(asked: string, made: string): void {
  const values = (text: string) =>
    new Map([...text.matchAll(/^(CONFIG_\w+)=(.*)$/gm)].map(([, name = "", value = ""]) => [name, value]));
  const has = values(made);
  const lost = [...values(asked)].filter(([name, value]) => (has.get(name) ?? "n") !== value);
  if (lost.length > 0)
    throw new Error(`Kconfig made another value of ${lost.map((each) => each.join("=")).join(", ")}`);
}

const MEMBERS: readonly string[] = [...new Set(kernelFields.map(({ member }) => member))];

const HEADERS = [
  ...["linux/net.h", "linux/skbuff.h", "linux/tcp.h", "net/flow.h", "net/inet_sock.h", "net/net_namespace.h"],
  ...["net/netfilter/nf_conntrack.h", "net/sock.h"],
];

/**
 * The symbol table, as readelf prints it, of an object compiled as one of the kernel's own: for each member that there is
 * a symbol that is one byte larger than the member's offset, or empty where the member is.
 *
 * (Debug information would not do: gcc writes it before its plugin has moved the members.)
 */
async function symbolsIn(tree: string): Promise<string> {
  let left = MEMBERS.map((member, index) => ({ member, index }));
  for (;;) {
    const lines = left.map(({ member, index }) => {
      const [type = "", ...path] = member.split(".");
      const at = `struct ${type}, ${path.join(".")}`;
      return `char ${SYMBOL}${index}[sizeof(((struct ${type} *)0)->${path.join(".")}) ? offsetof(${at}) + 1 : 0];`;
    });
    const includes = HEADERS.map((header) => `#include <${header}>`);
    await Bun.write(join(tree, "lib/lab.c"), [...includes, ...lines, ""].join("\n"));
    const { status, stderr } = await attempt(makeCommand("lib/lab.o"), { cwd: tree });
    if (status === 0) break;
    // A member that this kernel does not have is an error in its own line.
    const lost = new Set(
      [...stderr.matchAll(/^lib\/lab\.c:(\d+):\d+: error: .* has no member named /gm)].map(
        ([, line]) => Number(line) - includes.length - 1,
      ),
    );
    if (lost.size === 0) throw new Error(`lib/lab.c: ${stderr}`);
    left = left.filter((_, index) => !lost.has(index));
  }
  return (await run(["readelf", "--syms", "--wide", "lib/lab.o"], { cwd: tree })).stdout;
}

const SYMBOL = "member_";

/** What `symbolsIn` says of each member. */
function sizesOf(symbols: string): ReadonlyMap<string, number | null> {
  // Num: Value Size Type Bind Vis Ndx Name
  const row = new RegExp(`^ *\\d+: [0-9a-f]+ +(\\d+) +OBJECT .* ${SYMBOL}(\\d+)$`, "gm");
  const sizes = new Map([...symbols.matchAll(row)].map(([, size, index]) => [Number(index), Number(size)]));
  if (sizes.size === 0) throw new Error("the symbol table of lib/lab.o names no member");
  return new Map(
    MEMBERS.map((member, index) => {
      const size = sizes.get(index) ?? 0;
      return [member, size === 0 ? null : size - 1];
    }),
  );
}

/** Waits until no other process has a lock of the cache, and holds it until disposed of. */
async function locked(name: string): Promise<AsyncDisposable> {
  const path = join(cacheFolder(), name);
  const holder = Bun.spawn(["flock", path, "sh", "-c", "echo; exec cat"], { stdin: "pipe", stdout: "pipe" });
  await holder.stdout.getReader().read(); // an empty line, once it is held
  return {
    async [Symbol.asyncDispose]() {
      holder.stdin.end();
      await holder.exited;
    },
  };
}
