/**
 * What each command ends with on many hosts, by the same file: roots made here, and guests. docs/hosts.md holds the table, which
 * table.test.ts compares with what it sees, and writes where OFFSETOF_TABLE=write.
 */
import { copyFileSync, mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { loadPackage } from "../../assets/build/debian.ts";
import { machines, type Release } from "../../assets/build/release/machines.ts";
import { writeImage } from "../../assets/build/release/oci.ts";
import { billOfMaterials } from "../../assets/build/release/sbom.ts";
import { run as tool } from "../../assets/build/run.ts";
import { executable, run, Scratch } from "../e2e/executable.ts";
import { treeWith } from "../e2e/tree.ts";
import { buildForMusl } from "../matrix/musl.ts";
import { executableFor } from "./executable.ts";
import { bootGuest, text } from "./guest.ts";
import { labKernel, loadKernel } from "./kernels.ts";

/** The commands, one a column. */
export const commands = [
  "--version",
  "detect",
  "kernel",
  "tls",
  "verify kernel",
  "gateway 127.0.0.2 127.0.0.1",
  "btf -o -",
  "bytecode list",
] as const;

/** A host, by what it does with shell lines in which `offsetof` is the executable. */
export interface TableRow {
  readonly name: string;
  /** Name in OFFSETOF_LAB; undefined: made and asked without being asked for. */
  readonly lab?: string;
  /** The exit code of each command, and what `tool.libc` says. */
  readonly ask: () => Promise<Answered>;
}

export interface Answered {
  readonly libc: string;
  readonly statuses: readonly number[];
}

/** Each command, and then which C library runs. */
const script = (offsetof: string): string =>
  [
    ...commands.map((command) => `${offsetof} ${command} >/dev/null 2>&1 </dev/null; echo $?`),
    `${offsetof} detect --format json 2>/dev/null </dev/null | sed -n 's/.*"libc": "\\(.*\\)".*/\\1/p'`,
  ].join("\n");

function answered(lines: string): Answered {
  const words = lines.trim().split("\n");
  const statuses = words.slice(0, commands.length).map(Number);
  return { libc: words[commands.length] ?? "", statuses };
}

/** @param mounted what of the kernel is mounted there */
function inRoot(root: string, mounted: readonly ("proc" | "sysfs")[] = ["proc", "sysfs"]): Answered {
  const mounts = mounted.map((type) => {
    const folder = type === "proc" ? "proc" : "sys";
    mkdirSync(join(root, folder), { recursive: true });
    return `mount -t ${type} ${type} "$0/${folder}"`;
  });
  const inside = [...mounts, script('chroot "$0" /offsetof')].join("\n");
  return answered(run(["unshare", "--mount", "--pid", "--fork", "sh", "-c", inside, root]).stdout);
}

const debian = (suite: string, version: string, ...libraries: string[]): TableRow => ({
  name: `Debian ${version}, its C library and libssl`,
  ask: async () => {
    using root = await treeWith({ [suite]: ["libc6", ...libraries] });
    return inRoot(root.path);
  },
});

/** A root with the executable, and what is put there. */
const bare = (name: string, fill: (root: Scratch) => unknown, mounted?: ("proc" | "sysfs")[]): TableRow => ({
  name,
  ask: async () => {
    using root = new Scratch();
    run(["chmod", "755", root.path]);
    copyFileSync(executable, root.at("offsetof"));
    await fill(root);
    return inRoot(root.path, mounted);
  },
});

const put = (root: Scratch, path: string, from: string): void => {
  run(["mkdir", "-p", join(root.at(path), "..")]);
  copyFileSync(from, root.at(path));
};

async function image(root: Scratch): Promise<void> {
  const [machine] = machines;
  const release: Release = { version: "0", description: "", date: 0, effort: "fast" };
  const work = mkdtempSync(join(tmpdir(), "offsetof-image-"));
  try {
    const materials = await billOfMaterials(machine, executable, release);
    await writeImage(
      [{ machine, executable, materials }],
      release,
      join(work, "made"),
      join(work, "oci.tar"),
    );
    await tool([
      "skopeo",
      "copy",
      "--override-arch",
      "amd64",
      `oci-archive:${work}/oci.tar:0`,
      `oci:${work}/oci:one`,
    ]);
    await tool(["umoci", "unpack", "--image", `${work}/oci:one`, join(work, "bundle")]);
    await tool(["cp", "-a", `${work}/bundle/rootfs/.`, root.path]);
  } finally {
    rmSync(work, { recursive: true });
  }
}

const guest = (lab: string, name: string, ...packages: string[]): TableRow => ({
  name: `guest, Linux ${name}`,
  lab,
  ask: async () => {
    const kernel = await loadKernel(labKernel(lab));
    const from = await executableFor(kernel.row.architecture);
    const asked = {
      kernel,
      packages,
      modules: ["nf_conntrack_netlink"],
      files: { "/opt/offsetof": { from } },
    };
    const { results } = await bootGuest({ ...asked, commands: [script("/opt/offsetof")] });
    return answered(text(results[0]?.stdout ?? new Uint8Array()));
  },
});

export const tableRows: readonly TableRow[] = [
  debian("bullseye", "11", "libssl1.1"),
  debian("bookworm", "12", "libssl3"),
  debian("trixie", "13", "libssl3t64", "zlib1g", "libzstd1"),
  debian("sid", "sid", "libssl3t64", "zlib1g", "libzstd1"),
  bare("nothing but the file, /proc and /sys", () => undefined),
  bare("nothing but the file and /proc", () => undefined, ["proc"]),
  bare("nothing but the file", () => undefined, []),
  bare("as NixOS has it: another program at the dynamic linker's path", async (root) => {
    const { root: glibc } = await loadPackage("bullseye", "libc6");
    put(root, "lib64/ld-linux-x86-64.so.2", join(glibc, "lib/x86_64-linux-gnu/libm-2.31.so"));
  }),
  {
    ...bare("musl, and a libssl made for it", async (root) => {
      const { folder } = await buildForMusl();
      for (const name of ["libssl.so.3", "libcrypto.so.3"]) put(root, `lib/${name}`, join(folder, name));
    }),
    lab: "musl",
  },
  { ...bare("the OCI image, unpacked", image), lab: "image" },
  guest("5.10-cloud", "5.10, Debian 11", "libssl1.1"),
  guest("6.1-cloud", "6.1, Debian 12", "libssl3"),
  guest("6.12-cloud", "6.12, Debian 13", "libssl3t64", "zlib1g", "libzstd1"),
  guest("sid-cloud", "7.2, Debian sid", "libssl3t64", "zlib1g", "libzstd1"),
  guest("arm64-6.1-cloud", "6.1 on arm64, Debian 12", "libssl3"),
  guest("arm64-6.12-cloud", "6.12 on arm64, Debian 13", "libssl3t64", "zlib1g", "libzstd1"),
  guest("arm64-7.2-16k", "7.2 on arm64, pages of 16 KiB, Debian sid", "libssl3t64", "zlib1g", "libzstd1"),
];

/** A row of docs/hosts.md. */
export const lineOf = (name: string, { libc, statuses }: Answered): string =>
  `| ${[name, libc || "-", ...statuses].join(" | ")} |`;

const titles = commands.map((command) => `\`${command.replace(/ 127.*| -o -/, "")}\``);
export const head = [
  `| ${["host", "C library", ...titles].join(" | ")} |`,
  `| ${["---", "---", ...titles.map(() => "---")].join(" | ")} |`,
].join("\n");

/** Puts a line in the place of that of the same host. */
export function writeLine(path: string, host: string, line: string): void {
  const page = readFileSync(path, "utf8");
  const kept = new Map(
    [...page.matchAll(/^\| ([^|]+) \|.*\|$/gm)].map(([line, name = ""]) => [name, line]),
  ).set(host, line);
  const rows = tableRows.flatMap(({ name }) => kept.get(name) ?? []);
  const [before = ""] = page.split("\n| host |");
  const after = page.split(/^\|.*\|\n(?!\|)/m).at(-1) ?? "";
  writeFileSync(path, `${before}\n${head}\n${rows.join("\n")}\n${after}`);
}
