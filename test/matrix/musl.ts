/** OpenSSL as a distribution with musl has it: compiled with musl's headers, linked with musl's library and no glibc. */
import { cp, mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import * as v from "valibot";
import { CachedFolder } from "../../assets/build/cache.ts";
import { downloadSource } from "../../assets/build/debian.ts";
import { assets } from "../../assets/build/paths.ts";
import { run } from "../../assets/build/run.ts";
import { zigInclude } from "../../assets/build/zig.ts";
import { measured, openssl } from "../truth/make.ts";

const release = { suite: "bookworm", version: "3.0.20-1~deb12u2", folder: "openssl-3.0.20" };

/** What a handshake does not need, so that it takes minutes less. */
const without = [
  ...[
    "tests",
    "module",
    "engine",
    "legacy",
    "aria",
    "bf",
    "blake2",
    "camellia",
    "cast",
    "idea",
    "md4",
    "mdc2",
  ],
  ...[
    "rc2",
    "rc4",
    "rmd160",
    "seed",
    "siphash",
    "sm2",
    "sm3",
    "sm4",
    "whirlpool",
    "ts",
    "cms",
    "ct",
    "ocsp",
    "srp",
  ],
  ...["gost", "comp", "cmp", "scrypt", "dsa", "async", "dso", "ui-console"],
].map((name) => `no-${name}`);

export interface MuslBuild {
  /** Folder with libssl.so.3 and libcrypto.so.3, which need musl by the name `libc.so`. */
  readonly folder: string;
  /** Bytes by `type.member`, as the compiler has them. */
  readonly truth: Readonly<Record<string, number>>;
}

/** Built on first use, which takes minutes, and kept in the cache. */
export async function buildForMusl(): Promise<MuslBuild> {
  const cached = await CachedFolder.open(`matrix/musl-${release.version}`, fill);
  const truth: unknown = JSON.parse(new TextDecoder().decode(await cached.read("truth.json")));
  return { folder: cached.folder, truth: v.parse(v.record(v.string(), v.number()), truth) };
}

async function fill(folder: string): Promise<void> {
  const scratch = await mkdtemp(join(tmpdir(), "offsetof-musl-"));
  try {
    await downloadSource({ ...release, name: "openssl" }, scratch);
    const tree = join(scratch, release.folder);
    const { stdout } = await run(["gcc", "-print-file-name=include"]);
    const headers = [
      stdout.trim(),
      ...["x86_64-linux-musl", "generic-musl", "x86-linux-any", "any-linux-any"].map(zigInclude),
    ];
    const includes = headers.flatMap((path) => ["-isystem", path]);
    const compiler = [
      "gcc",
      "-nostdinc",
      "-nostdlib",
      "-fno-stack-protector",
      ...includes,
      `-L${join(assets, "launcher/x64")}`,
    ];
    const build = openssl(release.suite, release.version, async () => [
      ...["linux-x86_64", "shared", ...without, `CC=${compiler.join(" ")}`, "CFLAGS=-O1", "LDLIBS=-lc -lgcc"],
    ]);
    await Bun.write(join(folder, "truth.json"), JSON.stringify(await measured(build, tree)));
    await run(["make", "-j2", "build_libs"], { cwd: tree });
    for (const name of ["libssl.so.3", "libcrypto.so.3"]) await cp(join(tree, name), join(folder, name));
  } finally {
    await rm(scratch, { recursive: true });
  }
}
