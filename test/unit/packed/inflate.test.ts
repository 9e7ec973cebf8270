import { describe, expect, test } from "bun:test";
import { randomBytes } from "node:crypto";
import { packingOf, unpacked } from "../../../src/packed/inflate.ts";
import { Stream } from "../../../src/packed/stream.ts";
import { assetBytes } from "../../../src/self/assets.ts";

/** As other programs pack. */
const packers = [
  ["gzip", "gzip -n"],
  ["xz", "xz --x86 --lzma2=dict=1MiB"],
  ["xz", "xz -1 --check=sha256 --block-size=50000 -T2"],
  ["xz", "xz --check=none --delta --lzma2"],
  ["zstd", "zstd -3"],
  ["zstd", "zstd -3 --long=27 --no-check"],
  ["lz4", "lz4 -l -9 - -"],
  ["lzma", "xz --format=lzma"],
  ["bzip2", "bzip2 -1"],
  ["lzo", "lzop -1"],
  ["lzo", "lzop -9 --crc32"],
  ["lzo", "lzop --no-checksum"],
] as const;

const path = "the/input";
const pack = (command: string, bytes: Uint8Array): Buffer => {
  const { exitCode, stdout, stderr } = Bun.spawnSync(["sh", "-c", command], {
    stdin: new Blob([Buffer.from(bytes)]),
  });
  if (exitCode !== 0) throw new Error(`${command}: ${stderr}`);
  return stdout;
};
/** In pieces that end anywhere. */
function* pieces(bytes: Buffer): Generator<Buffer> {
  for (let at = 0, size = 1; at < bytes.length; at += size, size = (size * 7) % 70_001)
    yield bytes.subarray(at, at + size);
}
const unpack = (bytes: Buffer, limit = 1 << 30): Buffer => {
  using stream = unpacked(new Stream(pieces(bytes), path), limit);
  return Buffer.concat(Array.from(stream.rest(), (bytes) => Buffer.from(bytes)));
};

/** Runs, repetitions, code, and what nothing can be done about. */
const samples = [
  Buffer.concat([
    await Bun.file(process.execPath).slice(0, 250_000).bytes(),
    Buffer.alloc(100_000, 7),
    randomBytes(20_000),
    Buffer.from("a text, and a text, and again a text. ".repeat(3000)),
  ]),
  Buffer.from("x"),
];

test("what unpacks imports nothing, so that it can only compute", () => {
  expect(WebAssembly.Module.imports(new WebAssembly.Module(assetBytes("inflate.wasm")))).toEqual([]);
});

describe.each(packers)("%s, by %s", (name, command) => {
  test("gives back what was packed, whatever follows it, and one stream behind the other", () => {
    for (const sample of samples) {
      const packed = pack(command, sample);
      expect(packingOf(packed)).toBe(name);
      expect(unpack(packed).equals(sample)).toBe(true);
      // A vmlinuz has the size there, which LZ4 alone cannot tell from the next block.
      const size = Buffer.alloc(4);
      size.writeUInt32LE(sample.length);
      expect(unpack(Buffer.concat([packed, size])).equals(sample)).toBe(true);
      if (name !== "lz4")
        expect(unpack(Buffer.concat([packed, packed, size])).equals(Buffer.concat([sample, sample]))).toBe(
          true,
        );
    }
  });

  test("is refused where it is cut, or damaged, or unpacks to more than is allowed", () => {
    const [sample = Buffer.alloc(0)] = samples;
    const packed = pack(command, sample);
    const error = new RegExp(`^${path}: ${name}: .* \\(at offset 0x[0-9a-f]+\\)$`);
    for (const part of [0.2, 0.5, 0.9, 0.999])
      expect(() => unpack(packed.subarray(0, packed.length * part))).toThrow(error);
    const limit = sample.length - 1;
    expect(() => unpack(packed, limit)).toThrow(`${name}: it unpacks to more than ${limit} bytes`);
    expect(unpack(packed, sample.length).length).toBe(sample.length);
  });

  test("with any byte changed gives the same or is refused, or, where there is no sum, is as long at most", () => {
    const [, , , ...rest] = samples[0]?.subarray(0, 4000) ?? [];
    const sample = Buffer.from(rest);
    const packed = pack(command, sample);
    const isSummed = !/lz4|lzma|none|no-check/.test(command);
    for (let at = 10; at < packed.length; at += 23) {
      const damaged = Buffer.from(packed);
      damaged[at] = (damaged[at] ?? 0) ^ 0x55;
      let told: Buffer | null = null;
      try {
        told = unpack(damaged, 1 << 20);
      } catch (error) {
        expect(String(error)).toContain(`${path}: ${name}: `);
      }
      if (told !== null && isSummed) expect(told.equals(sample)).toBe(true);
    }
  });
});

test("endless streams in a row come to an end", () => {
  const packed = pack("gzip -n", Buffer.alloc(0));
  expect(() => unpack(Buffer.concat(Array.from({ length: 2000 }, () => packed)))).toThrow(
    "more than 1024 gzip streams",
  );
});
