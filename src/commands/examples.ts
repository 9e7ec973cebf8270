/** A command line that works, and what it is for. */
export interface Example {
  /** A line for sh. */
  readonly line: string;
  readonly does: string;
}

/** Examples by command. Help and manual page show them, and a test runs each. */
export const examples: Readonly<Record<string, readonly Example[]>> = {
  "": [
    { line: "offsetof", does: "Everything for this machine" },
    { line: "offsetof detect --format table", does: "What it would do here, and what is missing" },
  ],
  run: [
    { line: "offsetof run --format json > offsets.json", does: "Everything for this machine, into a file" },
  ],
  detect: [
    { line: "offsetof detect --format table", does: "All of it, for people" },
    {
      line: `offsetof detect | jq -r '.detect.missing[] | "\\(.what): \\(.help)"'`,
      does: "What would help, a line each",
    },
  ],
  kernel: [
    { line: "offsetof kernel --get offset_daddr", does: "One bare number" },
    { line: 'eval "$(offsetof kernel --format env)"', does: "Every number as a variable of the shell" },
    {
      line: "offsetof kernel --only offset_rtt,offset_rtt_var | jq .kernel.fields",
      does: "How sure two of them are",
    },
    {
      line: "offsetof kernel --member task_struct.pid,sk_buff.cloned --format env",
      does: "Any member of the kernel's types",
    },
    {
      line: "offsetof kernel --vocabulary deepflow --format header",
      does: "What another program asks for, under its names",
    },
    {
      line: "offsetof kernel --image /sys/kernel/btf/vmlinux --get tcp_sock.srtt_us",
      does: "A kernel by its file: vmlinuz, Image, a package, raw BTF as here",
    },
    { line: "offsetof kernel --source btf", does: "Only what the kernel's own BTF says; no privilege" },
  ],
  tls: [
    { line: "offsetof tls /usr/bin/openssl", does: "The library that this program is linked with" },
    { line: "offsetof tls --pid $$", does: "What one process uses, here the shell itself" },
    { line: 'offsetof tls --version-text "openssl 3.0.12"', does: "What the table says, without any file" },
    { line: "offsetof tls --source code,table", does: "Without executing any library" },
    {
      line: "offsetof tls --root /",
      does: "What lies in a tree, such as an unpacked image; nothing is executed",
    },
  ],
  explain: [
    { line: "offsetof explain offset_rtt", does: "Who says where tcp_sock.srtt_us lies, and how it knows" },
    { line: "offsetof explain SSL_SESSION_ST_MASTER_KEY /usr/bin/openssl", does: "The same of one library" },
  ],
  btf: [
    { line: "offsetof btf -o kernel.btf", does: "BTF for CO-RE programs on this kernel" },
    {
      line: "offsetof bytecode extract --for kernel -o - > tool.o; offsetof btf --for tool.o --format table",
      does: "Whether the programs of an object would load with it, and what they miss",
    },
    {
      line: "offsetof bytecode extract --for kernel -o - > tool.o; offsetof btf --for tool.o --minimal -o tool.btf",
      does: "Only the types that the object needs",
    },
    { line: "offsetof btf --install --format table", does: "Where loaders look for BTF" },
    {
      line: 'offsetof btf --elf -o "vmlinux-$(uname -r)"',
      does: "For loaders that read BTF from an ELF file alone",
    },
  ],
  gateway: [
    {
      line: "offsetof gateway 0.0.0.0 127.0.0.2",
      does: "Where a packet goes, from an address that the kernel chooses",
    },
    {
      line: "printf '0.0.0.0 127.0.0.2\\n:: ::1\\n' | offsetof gateway --batch",
      does: "A line of JSON for each line of SRC DST",
    },
  ],
  "bytecode list": [
    { line: "offsetof bytecode list --format table", does: "The objects inside, and what they take" },
  ],
  "bytecode extract": [
    {
      line: "offsetof bytecode extract --for kernel -o sock.o",
      does: "A reader of sockets with this kernel's constants in it",
    },
    {
      line: "offsetof bytecode extract --for /usr/bin/openssl --allow-missing -o tls.o",
      does: "The object for the library that openssl is linked with",
    },
  ],
  "bytecode edit": [
    {
      line: "offsetof bytecode extract --for kernel -o - > in.o; offsetof bytecode edit in.o -o out.o",
      does: "The constants into an object of your own",
    },
    {
      line: "offsetof bytecode extract --for kernel -o - > in.o; offsetof bytecode edit in.o -o out.o --set filter_comm_0=0x68737a",
      does: "The same, with a value of your own for another of its names",
    },
  ],
  "verify kernel": [
    { line: "offsetof verify kernel --format table", does: "Reads fresh sockets and compares" },
  ],
  "verify tls": [
    {
      line: "offsetof verify tls /usr/bin/openssl",
      does: "Reads sessions that the library makes with itself",
    },
  ],
  diff: [
    {
      line: "offsetof run --format json > before.json; offsetof diff before.json --format table",
      does: "What has changed on this machine since then",
    },
  ],
  merge: [
    {
      line: "offsetof run --format json > host1.json; offsetof merge host1.json --format table",
      does: "Documents of many machines into one of layouts",
    },
  ],
  config: [
    { line: "offsetof config --format table", does: "The settings in force, and where each came from" },
  ],
};
