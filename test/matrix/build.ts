/** Builds a variant of OpenSSL, and links it in each way that a library is met with. */
import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { dirname, join } from "node:path";
import * as v from "valibot";
import { CachedFolder } from "../../assets/build/cache.ts";
import { downloadSource, loadPackage } from "../../assets/build/debian.ts";
import { run } from "../../assets/build/run.ts";
import { asDebian, type Build, measured, openssl } from "../truth/make.ts";
import { releases, type Variant } from "./variants.ts";

/** A file with the variant inside, made by link.sh: programs hold libcrypto too, libraries have it beside them. */
export interface Cell {
  readonly name: string;
  /** The names of functions are left in it, so that its code can be read. */
  readonly isNamed: boolean;
  /** Below the variant's folder. */
  readonly path: string;
}

const programs: readonly Cell[] = [
  { name: "a program with symbols", isNamed: true, path: "program/symbols" },
  { name: "a stripped program", isNamed: false, path: "program/stripped" },
  { name: "a stripped program that never asks for the version", isNamed: false, path: "program/silent" },
];
const libraries: readonly Cell[] = [
  { name: "libssl with symbols", isNamed: true, path: "symbols/libssl.so.3" },
  { name: "libssl stripped to .dynsym", isNamed: true, path: "stripped/libssl.so.3" },
  { name: "libssl without section headers", isNamed: true, path: "headless/libssl.so.3" },
  { name: "libssl without .dynsym", isNamed: false, path: "nameless/libssl.so.3" },
  { name: "a stripped shared object that exports nothing of it", isNamed: false, path: "hidden/plugin.so" },
];

const hasShared = ({ options }: Variant): boolean => !options.includes("no-shared");

export const cellsOf = (variant: Variant): readonly Cell[] =>
  hasShared(variant) ? [...programs, ...libraries] : programs;

/** A variant that is built. */
export interface Built {
  /** The absolute path of a cell's file, checked against its sum. */
  path(cell: Cell): Promise<string>;
  /** Bytes by `type.member`, as the compiler has them of this very build's headers and configuration. */
  readonly truth: Readonly<Record<string, number>>;
}

/** What a build is made by, beside what it is told. */
const recipe = ["link.sh", "client.c", "newer-libc.c"];

/** Builds a variant on first use, which takes a minute, and keeps it in the cache. */
export async function buildVariant(variant: Variant): Promise<Built> {
  const { release, options, isUpstream, ownCrypto, added } = variant;
  const { suite, version } = releases[release];
  const build = openssl(suite, version, async (...place) => [
    ...(isUpstream ? [] : await asDebian(...place)),
    ...options,
  ]);
  const debian = await loadPackage(suite, "libssl-dev");
  const hash = new Bun.CryptoHasher("sha256");
  for (const path of recipe) hash.update(await Bun.file(join(import.meta.dir, path)).bytes());
  const told = JSON.stringify({ build, options, isUpstream, ownCrypto, added, debian: debian.version });
  const key = hash.update(told).digest("hex").slice(0, 16);
  const cached = await CachedFolder.open(`matrix/${release}-${key}`, async (folder) => {
    const archive = await debian.cached.path("root/usr/lib/x86_64-linux-gnu/libcrypto.a");
    const shared = hasShared(variant) ? ["shared"] : [];
    await fill(build, added, [ownCrypto ? "own" : archive, folder, ...shared], folder);
  });
  const truth: unknown = JSON.parse(new TextDecoder().decode(await cached.read("truth.json")));
  return {
    path: ({ path }) => cached.path(path),
    truth: v.parse(v.record(v.string(), v.number()), truth),
  };
}

async function fill(
  build: Build,
  added: Variant["added"],
  link: readonly string[],
  folder: string,
): Promise<void> {
  const scratch = await mkdtemp(join(tmpdir(), "offsetof-matrix-"));
  try {
    await downloadSource(build.source, scratch);
    const [configure = ""] = await Array.fromAsync(new Bun.Glob("*/Configure").scan({ cwd: scratch }));
    const tree = join(scratch, dirname(configure));
    if (added !== undefined) await add(added, join(tree, "ssl/ssl_local.h"));
    await Bun.write(join(folder, "truth.json"), JSON.stringify(await measured(build, tree)));
    await run(["sh", join(import.meta.dir, "link.sh"), ...link], { cwd: tree });
  } finally {
    await rm(scratch, { recursive: true });
  }
}

async function add({ member, before }: NonNullable<Variant["added"]>, header: string): Promise<void> {
  const [above = "", below, ...more] = (await Bun.file(header).text()).split(before);
  if (below === undefined || more.length > 0) throw new Error(`${header} does not have "${before}" once`);
  await Bun.write(header, `${above}${member}\n${before}${below}`);
}
