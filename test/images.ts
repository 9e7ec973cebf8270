import { copyFileSync, mkdirSync, readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { run } from "./e2e/executable.ts";

/** Members of which the small kernel has its own. */
const structs = `
#include <stddef.h>
struct sock_common { char pad[20]; unsigned short skc_family; unsigned daddr : 3, odd : 7; };
struct tcp_sock { struct sock_common common; long pad[9]; unsigned mdev_us; unsigned srtt_us; };
`;
const members = ["sock_common.skc_family", "tcp_sock.srtt_us", "tcp_sock.mdev_us"] as const;
/** Those members, as the kernel command takes them. */
export const askedMembers = `${members.join(",")},sizeof:tcp_sock,sock_common.odd`;

/** A kernel that is small, in every form that kernels have. */
export interface SmallKernel {
  readonly folder: string;
  readonly release: string;
  /** As readelf tells it. */
  readonly buildId: string;
  /** Constants by name, as the compiler has them. */
  readonly constants: Readonly<Record<string, number>>;
  /** Paths. */
  readonly vmlinux: string;
  readonly btf: string;
}

/** Runs a tool; @returns what it prints @throws Error where it fails */
export function tool(...command: string[]): string {
  const { status, stdout, stderr } = run(command);
  if (status !== 0) throw new Error(`${command.join(" ")}: ${stderr}`);
  return stdout;
}

const shell = (script: string, ...words: string[]): string => tool("sh", "-ec", script, ...words);

/** Builds it with gcc, and has pahole write its BTF. @param size bytes of constants */
export function smallKernel(folder: string, size = 200_000): SmallKernel {
  const release = "6.1.99-small";
  const [source, vmlinux, btf, printer] = ["kernel.c", "vmlinux", "vmlinux.btf", "printer"].map((name) =>
    join(folder, name),
  ) as [string, string, string, string];
  const banner = `Linux version ${release} (me@here) (gcc 12) #1 SMP Debian 6.1.99-1 (2026-01-01)\\n`;
  const filler = `const unsigned char filler[${size}] = { [0 ... ${size - 1}] = 7 };`;
  writeFileSync(
    source,
    `${structs}const char banner[] = "${banner}"; ${filler} struct tcp_sock one; void _start(void) {}\n`,
  );
  const link = "-nostdlib -static -no-pie -mcmodel=kernel -Wl,--build-id=sha1,-Ttext=0xffffffff81000000";
  shell(`gcc -g -O1 -fno-pic ${link} -o "$1" "$0" && pahole -J "$1"`, source, vmlinux);
  shell('objcopy --dump-section .BTF="$1" "$0" /dev/null', vmlinux, btf);
  const print = members.map((member) => `(int)offsetof(struct ${member.replace(".", ", ")})`);
  writeFileSync(
    `${printer}.c`,
    `${structs}#include <stdio.h>\nint main(void) { printf("[${members.map(() => "%d").join(",")},%d]", ${print.join(", ")}, (int)sizeof(struct tcp_sock)); }\n`,
  );
  const numbers: unknown = JSON.parse(shell('gcc -o "$0" "$0.c" && "$0"', printer));
  const values = Array.isArray(numbers) ? numbers.map(Number) : [];
  const names = [...members.map((member) => member.replace(".", "_")), "sizeof_tcp_sock"];
  const [, buildId = ""] = /Build ID: ([0-9a-f]+)/.exec(tool("readelf", "--notes", vmlinux)) ?? [];
  return {
    folder,
    release,
    buildId,
    constants: {
      ...Object.fromEntries(names.map((name, index) => [name, values[index] ?? -1])),
      // gcc has no offsetof of it: 3 bits of the word behind skc_family's are daddr's.
      sock_common_odd: 22,
      sock_common_odd_bit_offset: 3,
      sock_common_odd_bit_size: 7,
    },
    vmlinux,
    btf,
  };
}

/** How kernels are packed, as their Makefile does (scripts/Makefile.lib); those that put the size behind it. */
export const packers = {
  gz: { command: "gzip -n", hasSize: false },
  xz: { command: "xz --check=crc32 --x86 --lzma2=dict=1MiB --stdout", hasSize: true },
  zst: { command: "zstd --stdout", hasSize: true },
  lz4: { command: "lz4 -l -9 - -", hasSize: true },
  lzma: { command: "xz --format=lzma -1 --stdout", hasSize: true },
  bz2: { command: "bzip2 -9", hasSize: true },
  lzo: { command: "lzop -9", hasSize: true },
} as const;
export type Packing = keyof typeof packers;

export function packed(path: string, packing: Packing): Buffer {
  const { exitCode, stdout, stderr } = Bun.spawnSync(["sh", "-c", packers[packing].command], {
    stdin: Bun.file(path),
  });
  if (exitCode !== 0) throw new Error(`${packing}: ${stderr}`);
  return stdout;
}

/** Writes a file of these pieces, numbers as 4 bytes. @returns its path */
export function written(path: string, ...pieces: (Buffer | string | number)[]): string {
  const bytes = pieces.map((piece) => {
    if (typeof piece !== "number") return Buffer.from(piece as string, "latin1");
    const word = Buffer.alloc(4);
    word.writeUInt32LE(piece);
    return word;
  });
  writeFileSync(path, Buffer.concat(bytes));
  return path;
}

/** A bzImage (Documentation/arch/x86/boot.rst) of a packed kernel: two sectors, and the payload some bytes behind them. */
export function bzImage(path: string, { vmlinux, release }: SmallKernel, packing: Packing): string {
  const payload = packed(vmlinux, packing);
  const trailer = packers[packing].hasSize ? [readFileSync(vmlinux).length] : [];
  const header = Buffer.alloc(1024 + 16);
  header[0x1f1] = 1;
  header.write("HdrS", 0x202);
  header.writeUInt16LE(0x20f, 0x206);
  header.writeUInt16LE(0x300 - 0x200, 0x20e);
  header.write(`${release} (me@here) #1 SMP`, 0x300);
  header.writeUInt32LE(16, 0x248);
  header.writeUInt32LE(payload.length + trailer.length * 4, 0x24c);
  return written(path, header, payload, ...trailer, "what a loader finds behind it");
}

/** An arm64 Image: its header, texts, notes, BTF, and a vDSO whose build-id is not the kernel's. */
export function arm64Image(path: string, { btf, vmlinux, release }: SmallKernel, buildId: string): string {
  const header = Buffer.alloc(64);
  header.write("MZ", 0);
  header[24] = 0xa;
  header.write("ARM\x64", 0x38);
  return written(
    path,
    header,
    `\0Linux version ${release} (me@here) (gcc) #1 SMP Debian 6.1.99-1 (2026-01-01)\n\0`,
    Buffer.alloc(4096),
    readFileSync(vmlinux),
    Buffer.from(`040000001400000003000000474e5500${buildId}`, "hex"),
    Buffer.from("9feb01001800000000000000000000000000000001000000", "hex"), // of a program, with nothing in it
    readFileSync(btf),
    Buffer.alloc(100),
  );
}

/** An EFI image that unpacks itself (drivers/firmware/efi/libstub/zboot-header.S). */
export function zboot(path: string, image: string, packing: Packing): string {
  const payload = packed(image, packing);
  return written(path, "MZ\0\0zimg", 64, payload.length, Buffer.alloc(48), payload, Buffer.alloc(32));
}

/** A Debian package with a file of this name, beside one whose name no header of tar has room for. */
export function debianPackage(path: string, file: string, name: string, packing: string): string {
  const root = `${path}.root`;
  const long = join(root, "boot", "a".repeat(120));
  mkdirSync(join(root, "DEBIAN"), { recursive: true });
  mkdirSync(long, { recursive: true });
  writeFileSync(join(long, "vmlinuz"), "none");
  const control = ["Package: linux-image-small", "Version: 1", "Architecture: amd64", "Maintainer: me"];
  writeFileSync(join(root, "DEBIAN/control"), `${control.join("\n")}\nDescription: small\n`);
  copyFileSync(file, join(root, name));
  tool("dpkg-deb", "--build", `-Z${packing}`, root, path);
  return path;
}

/** An RPM package with this kernel. */
export function rpmPackage(path: string, vmlinuz: string, { release }: SmallKernel, payload: string): string {
  const top = `${path}.top`;
  mkdirSync(top, { recursive: true });
  const where = `/lib/modules/${release}/vmlinuz`;
  const spec = `Name: kernel-small
Version: 1
Release: 1
Summary: small
License: none
%description
small
%install
mkdir -p %{buildroot}/lib/modules/${release}
echo none >%{buildroot}/lib/modules/${release}/modules.builtin
cp ${vmlinuz} %{buildroot}${where}
%files
/lib/modules
`;
  writeFileSync(join(top, "kernel.spec"), spec);
  const defines = [
    `_topdir ${top}`,
    `_binary_payload ${payload}`,
    "__os_install_post %{nil}",
    "_build_id_links none",
  ];
  shell(
    'top=$0 path=$1; shift; rpmbuild --quiet -bb --target x86_64 "$@" "$top/kernel.spec" >/dev/null 2>&1 && mv "$top"/RPMS/*/*.rpm "$path"',
    top,
    path,
    ...defines.flatMap((define) => ["--define", define]),
  );
  return path;
}
