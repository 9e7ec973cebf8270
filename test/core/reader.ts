import { expect } from "bun:test";
import { basename, join } from "node:path";
import { CachedFolder } from "../../assets/build/cache.ts";
import { type Architecture, loadPackage } from "../../assets/build/debian.ts";
import { compileEbpf } from "../../assets/build/ebpf.ts";
import { architectures } from "../../assets/build/paths.ts";
import { zig } from "../../assets/build/zig.ts";

const FOLDER = import.meta.dir;
const SOURCES = [
  "reader.bpf.c",
  "asker.bpf.c",
  "misser.bpf.c",
  "capture.bpf.c",
  "reader.h",
  "loader.c",
  "judge.c",
  "libbpf.h",
  "../../bpf/offsetof.h",
];

/** CO-RE objects and libbpf programs that load them: see reader.bpf.c, asker.bpf.c, loader.c and judge.c. Paths of the built files. */
export interface CoreReader {
  readonly object: string;
  /** Of every kind of relocation, and of one that no kernel has. */
  readonly asker: string;
  readonly misser: string;
  /** Of the shape of eCapture's: capture.bpf.c. */
  readonly capture: string;
  /** Needs glibc 2.28, as the judges. */
  readonly loader: string;
  readonly judges: Readonly<Record<Architecture, string>>;
}

/** Compiles them on first use. */
export async function buildCoreReader(): Promise<CoreReader> {
  const sources = await Promise.all(SOURCES.map((source) => Bun.file(join(FOLDER, source)).text()));
  const cached = await CachedFolder.open(`core-${Bun.hash(sources.join()).toString(16)}`, async (folder) => {
    const [arch] = architectures;
    const cache = join(folder, "zig");
    for (const name of ["reader", "asker", "misser", "capture"]) {
      const target = { path: "", source: `test/core/${name}.bpf.c`, defines: [arch.define], arch };
      await compileEbpf(target, join(folder, `${name}.bpf.o`), cache);
    }
    for (const [program, name, machine] of [
      ["loader", "loader", "x86_64"],
      ["judge", "judge-amd64", "x86_64"],
      ["judge", "judge-arm64", "aarch64"],
    ] as const) {
      const flags = ["cc", "-target", `${machine}-linux-gnu.2.28`, "-O2", "-Wall", "-Werror"];
      await zig([...flags, "-o", join(folder, name), join(FOLDER, `${program}.c`)], { cwd: folder, cache });
    }
  });
  const path = (name: string) => cached.path(name);
  return {
    object: await path("reader.bpf.o"),
    asker: await path("asker.bpf.o"),
    misser: await path("misser.bpf.o"),
    capture: await path("capture.bpf.o"),
    loader: await path("loader"),
    judges: { amd64: await path("judge-amd64"), arm64: await path("judge-arm64") },
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

/** What judge.c said of an object. */
export interface Judged {
  readonly isLoaded: boolean;
  /** All its programs are those that the kernel holds against its own BTF. */
  readonly isEmpty: boolean;
  /** Empty where it was loaded. */
  readonly reason: string;
}

/** @returns by the file's name, in the order of its lines */
export const judged = (stdout: string): ReadonlyMap<string, Judged> =>
  new Map(
    stdout
      .trimEnd()
      .split("\n")
      .filter((line) => line !== "")
      .map((line) => {
        const [, name, verdict, reason = ""] = /^(\S+) (loads|has none|fails) ?(.*)$/.exec(line) ?? [];
        if (name === undefined) throw new Error(`the judge said: ${line}`);
        return [name, { isLoaded: verdict !== "fails", isEmpty: verdict === "has none", reason }];
      }),
  );

/** The CO-RE object inside one of Debian's libbpf-tools, such as tcpconnect. */
export async function foreignObject(
  name: string,
  { suite = "bookworm", architecture = "amd64" as Architecture } = {},
): Promise<Uint8Array<ArrayBuffer>> {
  const { cached } = await loadPackage(suite, "libbpf-tools", architecture);
  return objectIn(await cached.read(`${TOOLS}/${name}`), name);
}

const TOOLS = "root/usr/sbin";

/** All of them by their names: one an executable, links to it left out. */
export async function foreignObjects(
  architecture: Architecture,
): Promise<ReadonlyMap<string, Uint8Array<ArrayBuffer>>> {
  const { cached } = await loadPackage("bookworm", "libbpf-tools", architecture);
  const tools = (await cached.entries(TOOLS)).filter((entry) => !("target" in entry));
  return new Map(
    await Promise.all(
      tools.map(async ({ path }) => {
        const name = basename(path);
        return [name, objectIn(await cached.read(path), name)] as const;
      }),
    ),
  );
}

/** bpftool's skeletons hold the object whole. */
function objectIn(bytes: Uint8Array<ArrayBuffer>, name: string): Uint8Array<ArrayBuffer> {
  const image = Buffer.from(bytes.buffer);
  const EM_BPF = 247;
  for (let at = 0; ; at += 4) {
    at = image.indexOf("\x7fELF", at);
    if (at < 0) throw new Error(`${name} has no eBPF object in it`);
    if (image.readUInt16LE(at + 18) !== EM_BPF) continue;
    const end = Number(image.readBigUInt64LE(at + 0x28)) + image.readUInt16LE(at + 0x3c) * 64; // e_shoff, e_shnum
    return new Uint8Array(image.subarray(at, at + end));
  }
}
