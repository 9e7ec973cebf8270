/** Where a loader of CO-RE programs takes BTF from, on a kernel that has none. */
export interface BtfPlace {
  readonly loader: string;
  /** A file that it looks for, or what has to be said to it. */
  readonly file: string | null;
  readonly setting: string | null;
  /** What it reads: BTF alone, or an ELF file with the section .BTF. */
  readonly format: "raw" | "elf" | "either";
}

/** @param release of the kernel, as uname -r names it */
export const btfPlacesOf = (release: string): readonly BtfPlace[] => [
  {
    // Old ones read an ELF file alone there; all look further in /lib/modules and /usr/lib/debug.
    loader: "libbpf, and tools that leave it to that: bpftrace",
    file: `/boot/vmlinux-${release}`,
    setting: null,
    format: "elf",
  },
  {
    // They ask for that file before they ask libbpf, which then reads it.
    loader: "bcc's libbpf-tools, as Debian 12 has them",
    file: null,
    setting: "a folder with this file as vmlinux, mounted over /sys/kernel/btf",
    format: "raw",
  },
  {
    loader: "cilium/ebpf, and tools that leave it to that: Inspektor Gadget",
    file: `/boot/vmlinux-${release}`,
    setting: null,
    format: "elf",
  },
  {
    loader: "DeepFlow",
    file: `/usr/lib/btf/vmlinux-${release}.btf`,
    setting: null,
    format: "raw",
  },
  {
    loader: "your own, with libbpf",
    file: null,
    setting: "btf_custom_path of bpf_object_open_opts",
    format: "either",
  },
  {
    loader: "your own, with cilium/ebpf before 0.17",
    file: null,
    setting: "ProgramOptions.KernelTypes",
    format: "elf",
  },
  {
    loader: "your own, with cilium/ebpf from 0.17 on",
    file: null,
    setting: "ProgramOptions.KernelTypes",
    format: "either",
  },
  { loader: "bpftrace", file: null, setting: "BPFTRACE_BTF=FILE", format: "either" },
  { loader: "Tracee", file: null, setting: "TRACEE_BTF_FILE=FILE", format: "raw" },
];
