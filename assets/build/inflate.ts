import { mkdir } from "node:fs/promises";
import { dirname, join } from "node:path";
import type { SourcePackage } from "./debian.ts";
import { ZLIB, zlibPackage } from "./libbpf.ts";
import { zig } from "./zig.ts";

/** Below assets/: what unpacks kernels, one module of WebAssembly for every machine. */
export const inflatePath = "wasm/inflate.wasm";

/** The unpacked source folders, side by side in one folder. */
const XZ = "xz-utils-5.8.1/src";
const LZMA = `${XZ}/liblzma`;
const ZSTD = "libzstd-1.5.7+dfsg/lib";
const BZIP2 = "bzip2-1.0.8";
const LZ4 = "lz4-1.10.0/lib";

/** Debian source packages that hold them. */
export const inflatePackages: readonly SourcePackage[] = [
  { suite: "trixie", name: "xz-utils", version: "5.8.1-1+deb13u1" },
  { suite: "trixie", name: "libzstd", version: "1.5.7+dfsg-1" },
  { suite: "trixie", name: "bzip2", version: "1.0.8-6" },
  { suite: "trixie", name: "lz4", version: "1.10.0-4" },
  zlibPackage,
];

const folder = join(import.meta.dir, "inflate");

const inFolder = (where: string, names: string): string[] =>
  names.split(" ").map((name) => `${where}/${name}.c`);

/** What decoders need of each library, in the order it is linked. */
const sources: readonly string[] = [
  ...inFolder(`${LZMA}/check`, "check crc32_fast crc64_fast sha256"),
  ...inFolder(`${LZMA}/common`, "alone_decoder block_decoder block_header_decoder block_util common"),
  ...inFolder(`${LZMA}/common`, "filter_common filter_decoder filter_flags_decoder index_hash"),
  ...inFolder(`${LZMA}/common`, "stream_decoder stream_flags_common stream_flags_decoder"),
  ...inFolder(`${LZMA}/common`, "vli_decoder vli_size"),
  ...inFolder(`${LZMA}/delta`, "delta_common delta_decoder"),
  ...inFolder(`${LZMA}/lz`, "lz_decoder"),
  ...inFolder(`${LZMA}/lzma`, "lzma2_decoder lzma_decoder"),
  ...inFolder(`${LZMA}/simple`, "arm arm64 armthumb powerpc riscv simple_coder simple_decoder x86"),
  ...inFolder(`${ZSTD}/common`, "entropy_common error_private fse_decompress xxhash zstd_common"),
  ...inFolder(`${ZSTD}/decompress`, "huf_decompress zstd_ddict zstd_decompress zstd_decompress_block"),
  ...inFolder(ZLIB, "adler32 crc32 inffast inflate inftrees zutil"),
  ...inFolder(BZIP2, "blocksort bzlib compress crctable decompress huffman randtable"),
  ...inFolder(LZ4, "lz4"),
];

const includes = [
  ...["api", "check", "common", "delta", "lz", "lzma", "rangecoder", "simple"].map(
    (name) => `${LZMA}/${name}`,
  ),
  ...[`${XZ}/common`, ZSTD, ZLIB, BZIP2, LZ4],
].map((where) => `-I${where}`);

/** Bytes of memory that the module may have: more than inflate.c lets a dictionary take. */
const MOST_MEMORY = 256 << 20;

const flags = [
  ...["-target", "wasm32-wasi", "-mexec-model=reactor", "-O2", "-g0", "-s", "-w", "-fno-sanitize=all"],
  ...["-DNDEBUG", "-DHAVE_CONFIG_H", "-DBZ_NO_STDIO", "-DZSTD_LEGACY_SUPPORT=0", "-DZSTD_TRACE=0"],
  ...[`-I${folder}`, `-Wl,--max-memory=${MOST_MEMORY}`, "-Wl,--gc-sections"],
];

/**
 * Builds the module that unpacks kernels, which imports nothing.
 *
 * @param from folder that holds the unpacked inflatePackages
 * @param output path of the module; the same sources and compiler give the same bytes
 */
export async function buildInflate(from: string, output: string, cache: string): Promise<void> {
  await mkdir(dirname(output), { recursive: true });
  const args = ["cc", ...flags, ...includes, "-o", output, join(folder, "inflate.c"), ...sources];
  await zig(args, { cwd: from, cache });
}
