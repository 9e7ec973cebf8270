import * as v from "valibot";
import type { InputError } from "../input/input.ts";
import { assetBytes } from "../self/assets.ts";
import { Stream } from "./stream.ts";

/** What a stream begins with, in the order of the numbers that assets/build/inflate/inflate.c has for the formats. */
const formats = [
  { name: "gzip", magic: "1f8b08" },
  { name: "xz", magic: "fd377a585a00" },
  { name: "zstd", magic: "28b52ffd" },
  { name: "lz4", magic: "02214c18" }, // the legacy frame, the only one that kernels are packed in
  { name: "lzma", magic: "5d0000" },
  { name: "bzip2", magic: "425a68" },
  { name: "lzo", magic: "894c5a4f000d0a1a0a" },
].map(({ name, magic }) => ({ name, magic: Buffer.from(magic, "hex") }));
/** The number of gzip among the formats; its decoder takes streams of zlib as well. */
const gzip = formats.findIndex(({ name }) => name === "gzip");
const longest = Math.max(...formats.map(({ magic }) => magic.length));

/** Answers of inflate_step. */
const status = { input: 0, output: 1, end: 2, tooLarge: -2 } as const;

/** As many streams may follow one another: who packs in pieces makes them of some MiB. */
const mostStreams = 1024;

const number = v.number();
type Call<Arguments extends readonly number[]> = (...args: Arguments) => number;
const call = <Arguments extends readonly number[]>() =>
  v.custom<Call<Arguments>>((value) => typeof value === "function");
const exportsSchema = v.object({
  memory: v.instance(WebAssembly.Memory),
  _initialize: call<[]>(),
  inflate_in: call<[]>(),
  inflate_room: call<[]>(),
  inflate_out: call<[]>(),
  inflate_made: call<[]>(),
  inflate_taken: call<[]>(),
  inflate_feed: call<[size: number, isLast: number]>(),
  inflate_open: call<[format: number]>(),
  inflate_step: call<[]>(),
});

let compiled: WebAssembly.Module | undefined;

/** A new unpacker with memory of its own. The WebAssembly imports nothing, so that it can do nothing but compute. */
function unpacker(): v.InferOutput<typeof exportsSchema> {
  compiled ??= new WebAssembly.Module(assetBytes("inflate.wasm"));
  const exports = v.parse(exportsSchema, { ...new WebAssembly.Instance(compiled, {}).exports });
  exports._initialize();
  return exports;
}

/** The format that bytes are packed in, as their beginning tells; null where it is none that is known. */
export function packingOf(head: Uint8Array): string | null {
  return formats[numberOf(head)]?.name ?? null;
}

const numberOf = (head: Uint8Array): number =>
  formats.findIndex(({ magic }) => magic.equals(head.subarray(0, magic.length)));

/**
 * What is packed in a stream, and in those of the same format right behind it. Nothing is read beyond their end but what
 * was read ahead.
 *
 * @param limit bytes that may come of it
 * @throws InputError that names the format, with the place in the packed stream
 */
export function unpacked(packed: Stream, limit: number): Stream {
  return new Stream(piecesOf(packed, limit), `${packed.path} (unpacked)`);
}

/** One stream of zlib, as sections of ELF files are compressed with it: nothing that it begins with tells what it is. */
export const inflated = (packed: Stream): Stream =>
  new Stream(streamOf(packed, gzip, "zlib"), `${packed.path} (unpacked)`);

function* piecesOf(packed: Stream, limit: number): Generator<Buffer> {
  const format = numberOf(packed.peek(longest));
  const { name } = formats[format] ?? {};
  if (name === undefined) throw packed.error("packed in no format that is known");
  let left = limit;
  for (let streams = 0; numberOf(packed.peek(longest)) === format; streams++) {
    if (streams === mostStreams) throw packed.error(`more than ${mostStreams} ${name} streams`);
    for (const bytes of streamOf(packed, format, name)) {
      left -= bytes.length;
      if (left < 0) throw packed.error(`${name}: it unpacks to more than ${limit} bytes`);
      yield bytes;
    }
  }
}

function* streamOf(packed: Stream, format: number, name: string): Generator<Buffer> {
  const damaged = (): InputError => packed.error(`${name}: damaged`);
  try {
    const unpack = unpacker();
    const room = v.parse(number, unpack.inflate_room());
    let told = unpack.inflate_open(format);
    let fed = 0;
    const inMemory = (at: number, size: number): Buffer => Buffer.from(unpack.memory.buffer, at, size);
    while (told !== status.end) {
      if (told === status.tooLarge)
        throw packed.error(`${name}: it asks for more memory than kernels are packed with`);
      if (told !== status.input && told !== status.output) throw damaged();
      if (told === status.input) {
        const bytes = packed.some(room);
        if (bytes.length === 0) throw packed.error(`${name}: cut short`);
        fed = bytes.copy(inMemory(unpack.inflate_in(), room));
        unpack.inflate_feed(fed, packed.peek(1).length === 0 ? 1 : 0);
      }
      told = unpack.inflate_step();
      const made = unpack.inflate_made();
      if (made > 0) yield inMemory(unpack.inflate_out(), made);
    }
    const taken = unpack.inflate_taken();
    packed.putBack(inMemory(unpack.inflate_in() + taken, fed - taken));
  } catch (error) {
    if (error instanceof WebAssembly.RuntimeError) throw damaged();
    throw error;
  }
}
