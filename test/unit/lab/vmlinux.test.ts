import { afterAll, beforeAll, expect, test } from "bun:test";
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { extractVmlinux } from "../../lab/vmlinux.ts";

/** An ELF file to stand for the kernel. */
const ELF = "/bin/true";
let folder = "";

beforeAll(() => {
  folder = mkdtempSync(join(tmpdir(), "vmlinux-"));
});
afterAll(() => rmSync(folder, { recursive: true }));

/** The commands of scripts/Makefile.lib in the kernel's sources, and whether they append the unpacked size. */
const COMPRESSORS: readonly (readonly [string, string, boolean])[] = [
  ["gzip", "gzip -n -f -9", false],
  ["xz", "xz --check=crc32 --lzma2=dict=32MiB", true],
  ["zstd", "zstd -22 --ultra", true],
  ["lz4", "lz4 -l -9 - -", true],
];

test.each(COMPRESSORS)("a kernel compressed by %s comes out whole", async (_, compressor, sizeTrailer) => {
  const stream = Bun.spawnSync(["sh", "-c", `${compressor} <${ELF}`]).stdout;
  const elf = await Bun.file(ELF).bytes();
  const trailer = sizeTrailer ? [...new Uint8Array(Uint32Array.of(elf.length).buffer)] : [];
  const image = bzImage(Uint8Array.from([...stream, ...trailer]));
  await Bun.write(join(folder, "vmlinuz"), image);
  expect(Bun.deepEquals(await extractVmlinux(join(folder, "vmlinuz")), elf)).toBe(true);
});

test("a file that is not a bzImage, and an unknown compression, are errors naming the file", async () => {
  await expect(extractVmlinux(ELF)).rejects.toThrow('/bin/true: no "HdrS"');
  await Bun.write(join(folder, "odd"), bzImage(Uint8Array.from([1, 2, 3, 4, 5, 6, 7, 8])));
  await expect(extractVmlinux(join(folder, "odd"))).rejects.toThrow("starts with 0102030405060708");
});

/** Three setup sectors, and the payload 100 bytes into the protected-mode kernel, with more after it. */
function bzImage(payload: Uint8Array): Uint8Array {
  const start = (3 + 1) * 512 + 100;
  const image = new Uint8Array(start + payload.length + 64).fill(0xee, start + payload.length);
  const view = new DataView(image.buffer);
  view.setUint8(0x1f1, 3);
  image.set(new TextEncoder().encode("HdrS"), 0x202);
  view.setUint32(0x248, 100, true);
  view.setUint32(0x24c, payload.length, true);
  image.set(payload, start);
  return image;
}
