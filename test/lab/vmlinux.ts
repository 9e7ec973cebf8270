import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import type { Architecture } from "../../assets/build/debian.ts";
import { run } from "../../assets/build/run.ts";

type Bytes = Uint8Array<ArrayBuffer>;

/** What QEMU boots of a packaged vmlinuz, and the kernel's raw BTF, the bytes it shows under /sys/kernel/btf. */
export const bootable: Readonly<
  Record<Architecture, (vmlinuz: string) => Promise<{ kernel: Bytes; btf: Bytes }>>
> = {
  amd64: async (vmlinuz) => {
    const kernel = await extractVmlinux(vmlinuz);
    return { kernel, btf: await btfOfElf(kernel) };
  },
  // Debian's vmlinuz for arm64 is the Image as it is booted.
  arm64: async (vmlinuz) => {
    const kernel = await Bun.file(vmlinuz).bytes();
    return { kernel, btf: btfOfImage(kernel, vmlinuz) };
  },
};

/**
 * The ELF vmlinux inside a bzImage. The setup header (Documentation/arch/x86/boot.rst) tells where the
 * compressed kernel lies: `payload_offset` bytes after the setup sectors, `payload_length` bytes long,
 * little-endian. Throws when the image is not a bzImage of protocol 2.08 or later, or its compression unknown.
 */
export async function extractVmlinux(vmlinuz: string): Promise<Bytes> {
  const payload = bzImagePayload(await Bun.file(vmlinuz).bytes(), vmlinuz);
  const { program, sizeTrailer } = compressionOf(payload, vmlinuz);
  const child = Bun.spawn([...program], {
    // All but gzip are followed by the unpacked size, 4 bytes that are not part of the stream.
    stdin: payload.slice(0, payload.length - (sizeTrailer ? 4 : 0)),
    stdout: "pipe",
    stderr: "inherit",
  });
  const [output, status] = await Promise.all([new Response(child.stdout).arrayBuffer(), child.exited]);
  const vmlinux = new Uint8Array(output);
  if (status !== 0) throw new Error(`${vmlinuz}: ${program.join(" ")} ended with status ${status}`);
  if (!startsWith(vmlinux, "7f454c46")) throw new Error(`${vmlinuz}: the payload is no ELF file`);
  return vmlinux;
}

async function btfOfElf(elf: Bytes): Promise<Bytes> {
  const folder = await mkdtemp(join(tmpdir(), "vmlinux-"));
  try {
    const [vmlinux, btf] = [join(folder, "vmlinux"), join(folder, "btf")];
    await Bun.write(vmlinux, elf);
    await run(["objcopy", "--dump-section", `.BTF=${btf}`, vmlinux, "/dev/null"]);
    return await Bun.file(btf).bytes();
  } finally {
    await rm(folder, { recursive: true });
  }
}

/** struct btf_header: u16 magic, u8 version, u8 flags, u32 hdr_len, …, u32 str_off, u32 str_len (linux/btf.h). */
const BTF_HEADER = { start: "9feb010018000000", size: 24, stringsAt: 16, stringsSize: 20 } as const;

/** An Image has no sections: its BTF is the longest of what begins as BTF does. Throws when there is none. */
function btfOfImage(image: Bytes, name: string): Bytes {
  const buffer = Buffer.from(image.buffer, image.byteOffset, image.length);
  const start = Buffer.from(BTF_HEADER.start, "hex");
  let longest = image.subarray(0, 0);
  for (let at = buffer.indexOf(start); at >= 0; at = buffer.indexOf(start, at + 1)) {
    const [stringsAt, size] = [
      buffer.readUInt32LE(at + BTF_HEADER.stringsAt),
      buffer.readUInt32LE(at + BTF_HEADER.stringsSize),
    ];
    const end = at + BTF_HEADER.size + stringsAt + size;
    if (end <= image.length && end - at > longest.length) longest = image.subarray(at, end);
  }
  if (longest.length === 0) throw new Error(`${name}: no BTF in the image`);
  return longest;
}

interface Compression {
  readonly magic: string;
  readonly program: readonly string[];
  readonly sizeTrailer: boolean;
}

const COMPRESSIONS: readonly Compression[] = [
  { magic: "1f8b", program: ["gzip", "-dc"], sizeTrailer: false },
  { magic: "fd377a585a00", program: ["xz", "-dc"], sizeTrailer: true },
  { magic: "28b52ffd", program: ["zstd", "-dc", "--long=31"], sizeTrailer: true },
  { magic: "02214c18", program: ["lz4", "-dc"], sizeTrailer: true },
];

const SETUP_SECTS = 0x1f1;
const HEADER_MAGIC = 0x202;
const PAYLOAD_OFFSET = 0x248;
const PAYLOAD_LENGTH = 0x24c;
const SECTOR = 512;

function bzImagePayload(image: Uint8Array<ArrayBuffer>, name: string): Uint8Array<ArrayBuffer> {
  const view = new DataView(image.buffer);
  if (image.length < 0x250 || !startsWith(image.subarray(HEADER_MAGIC), "48647253"))
    throw new Error(`${name}: no "HdrS" at 0x202, so it is not a bzImage`);
  const setupSectors = view.getUint8(SETUP_SECTS) || 4;
  const start = (setupSectors + 1) * SECTOR + view.getUint32(PAYLOAD_OFFSET, true);
  return image.subarray(start, start + view.getUint32(PAYLOAD_LENGTH, true));
}

function compressionOf(payload: Uint8Array, name: string): Compression {
  const found = COMPRESSIONS.find(({ magic }) => startsWith(payload, magic));
  if (found) return found;
  throw new Error(`${name}: unknown compression, the payload starts with ${payload.subarray(0, 8).toHex()}`);
}

function startsWith(bytes: Uint8Array, magic: string): boolean {
  return bytes.subarray(0, magic.length / 2).toHex() === magic;
}
