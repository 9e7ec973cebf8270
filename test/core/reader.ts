import { expect } from "bun:test";
import { join } from "node:path";
import { CachedFolder } from "../../assets/build/cache.ts";
import { loadPackage } from "../../assets/build/debian.ts";
import { compileEbpf } from "../../assets/build/ebpf.ts";
import { architectures } from "../../assets/build/paths.ts";
import { zig } from "../../assets/build/zig.ts";

const FOLDER = import.meta.dir;
const SOURCES = [
  "reader.bpf.c",
  "asker.bpf.c",
  "misser.bpf.c",
  "reader.h",
  "loader.c",
  "../../bpf/offsetof.h",
];

/** CO-RE objects and a libbpf program that loads them: see reader.bpf.c, asker.bpf.c and loader.c. Paths of the built files. */
export interface CoreReader {
  readonly object: string;
  /** Of every kind of relocation, and of one that no kernel has. */
  readonly asker: string;
  readonly misser: string;
  /** Needs glibc 2.28. */
  readonly loader: string;
}

/** Compiles them on first use. */
export async function buildCoreReader(): Promise<CoreReader> {
  const sources = await Promise.all(SOURCES.map((source) => Bun.file(join(FOLDER, source)).text()));
  const cached = await CachedFolder.open(`core-${Bun.hash(sources.join()).toString(16)}`, async (folder) => {
    const [arch] = architectures;
    const cache = join(folder, "zig");
    for (const name of ["reader", "asker", "misser"]) {
      const target = { path: "", source: `test/core/${name}.bpf.c`, defines: [arch.define], arch };
      await compileEbpf(target, join(folder, `${name}.bpf.o`), cache);
    }
    const flags = ["cc", "-target", "x86_64-linux-gnu.2.28", "-O2", "-Wall", "-Werror"];
    await zig([...flags, "-o", join(folder, "loader"), join(FOLDER, "loader.c")], { cwd: folder, cache });
  });
  const path = (name: string) => cached.path(name);
  return {
    object: await path("reader.bpf.o"),
    asker: await path("asker.bpf.o"),
    misser: await path("misser.bpf.o"),
    loader: await path("loader"),
  };
}

/** That the two lines which the loader printed say the same. @returns what was read */
export function readsTruth(stdout: string): Readonly<Record<string, unknown>> {
  const [read, truth, ...rest] = stdout.split("\n").map((line) => (line === "" ? null : JSON.parse(line)));
  expect(rest).toEqual([null]);
  expect(truth).toMatchObject({ tcp4: { family: 2 }, tcp6: { family: 10 } });
  expect(read).toEqual(truth);
  return read;
}

/** The CO-RE object inside one of Debian's libbpf-tools, such as tcpconnect. */
export async function foreignObject(name: string): Promise<Uint8Array<ArrayBuffer>> {
  const { cached } = await loadPackage("bookworm", "libbpf-tools");
  const image = Buffer.from(await cached.read(`root/usr/sbin/${name}`));
  const EM_BPF = 247;
  for (let at = 0; ; at += 4) {
    at = image.indexOf("\x7fELF", at);
    if (at < 0) throw new Error(`${name} has no eBPF object in it`);
    if (image.readUInt16LE(at + 18) !== EM_BPF) continue;
    const end = Number(image.readBigUInt64LE(at + 0x28)) + image.readUInt16LE(at + 0x3c) * 64; // e_shoff, e_shnum
    return new Uint8Array(image.subarray(at, at + end));
  }
}
