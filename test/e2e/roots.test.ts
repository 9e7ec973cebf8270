/** One file, the same bytes, whatever C library a root has. Truth is the kernel's own BTF, read by another reader. */
import { beforeAll, describe, expect, test } from "bun:test";
import { copyFileSync, mkdirSync, readFileSync, symlinkSync, writeFileSync } from "node:fs";
import { dirname } from "node:path";
import { loadPackage } from "../../assets/build/debian.ts";
import { kernelFields } from "../../src/kernel/fields/fields.ts";
import { truthOf } from "../lab/truth.ts";
import { documentOf, executable, type Run, run, Scratch } from "./executable.ts";
import { makeOlder } from "./glibc.ts";

const LOADER = "lib64/ld-linux-x86-64.so.2";
const LIBC = "lib/x86_64-linux-gnu/libc.so.6";
const MUSL = "musl 1.2.5";

let glibc: string;
let truth: ReadonlyMap<string, number | null>;
beforeAll(async () => {
  glibc = (await loadPackage("bullseye", "libc6")).root;
  const members = kernelFields.map(({ member }) => member);
  truth = await truthOf("/sys/kernel/btf/vmlinux", members);
});

/** Runs the executable in a root of its own with /proc, and with what `fill` puts there. */
function inRoot(fill: (root: Scratch) => void, ...args: string[]): Run {
  using root = new Scratch();
  copyFileSync(executable, root.at("offsetof"));
  mkdirSync(root.at("proc"));
  fill(root);
  const script = `mount -t proc proc ${root.at("proc")} && exec chroot ${root.path} /offsetof "$@"`;
  return run(["unshare", "--mount", "sh", "-c", script, "sh", ...args]);
}

const put = (root: Scratch, path: string, bytes: Uint8Array): void => {
  mkdirSync(dirname(root.at(path)), { recursive: true });
  writeFileSync(root.at(path), bytes, { mode: 0o755 });
};
const withGlibc = (root: Scratch): void => {
  run(["cp", "-a", `${glibc}/.`, root.path]);
};

/** All of it: what Bun is linked with, and what it looks for by name where a newer one may have it. */
function withOlderGlibc(root: Scratch, newest: string): void {
  withGlibc(root);
  const names = ["libc", "libdl", "libm", "libpthread", "librt"];
  const paths = names.map((name) => root.at(`lib/x86_64-linux-gnu/${name}-2.31.so`));
  makeOlder(paths, "2.31", newest);
}

/** What the dynamic linker's path leads to, and the C library that runs then. */
const roots: readonly { name: string; libc: string; fill: (root: Scratch) => void }[] = [
  { name: "nothing at all", libc: MUSL, fill: () => {} },
  { name: "glibc 2.31", libc: "glibc 2.31", fill: withGlibc },
  { name: "what glibc 2.17 had", libc: "glibc 2.17", fill: (root) => withOlderGlibc(root, "2.17") },
  {
    name: "another program's linker, as NixOS and gcompat have it",
    libc: MUSL,
    fill: (root) => put(root, LOADER, readFileSync(`${glibc}/lib/x86_64-linux-gnu/libm-2.31.so`)),
  },
  {
    name: "a linker without its library",
    libc: MUSL,
    fill: (root) => put(root, LOADER, readFileSync(`${glibc}/lib/x86_64-linux-gnu/ld-2.31.so`)),
  },
  {
    name: "a glibc that does not know GLIBC_2.17",
    libc: MUSL,
    fill: (root) => {
      withGlibc(root);
      const bytes = readFileSync(root.at(LIBC));
      const at = bytes.indexOf("GLIBC_2.17\0");
      bytes.write("GLIBC_2.XX", at);
      run(["rm", root.at(LIBC)]);
      put(root, LIBC, bytes);
    },
  },
  { name: "a text", libc: MUSL, fill: (root) => put(root, LOADER, Buffer.from("#!/bin/sh\n")) },
  {
    name: "half a linker",
    libc: MUSL,
    fill: (root) => {
      withGlibc(root);
      const path = root.at("lib/x86_64-linux-gnu/ld-2.31.so");
      writeFileSync(path, readFileSync(path).subarray(0, 60_000));
    },
  },
  {
    name: "a FIFO",
    libc: MUSL,
    fill: (root) => {
      mkdirSync(root.at("lib64"));
      run(["mkfifo", root.at(LOADER)]);
    },
  },
  {
    name: "a link to itself",
    libc: MUSL,
    fill: (root) => {
      mkdirSync(root.at("lib64"));
      symlinkSync("ld-linux-x86-64.so.2", root.at(LOADER));
    },
  },
];

describe.each(roots)("a root with $name", ({ libc, fill }) => {
  test("runs, and says on what", () => {
    const { tool, kernel } = documentOf(inRoot(fill, "kernel", "--format", "json"));
    expect(tool.libc).toBe(libc);
    for (const { member, value } of Object.values(kernel?.fields ?? {}))
      if (value !== null && truth.has(member))
        expect([member, value]).toEqual([member, truth.get(member) ?? -1]);
    expect(kernel?.constants.offset_daddr).toBe(0);
  });
});

test("nothing is complained of where there is nothing but the file and /proc", () => {
  const bare = (...args: string[]) => inRoot(() => {}, ...args);
  // What the others end with: docs/hosts.md.
  for (const args of [["--help"], ["config"]])
    expect([args, bare(...args)]).toEqual([args, expect.objectContaining({ status: 0, stderr: "" })]);
  // Whether all is known depends on the programs that run on this machine.
  for (const command of ["detect", "tls"]) {
    const { status, stderr } = bare(command);
    expect({ command, isAnswer: status === 0 || status === 3, stderr }).toEqual({
      command,
      isAnswer: true,
      stderr: "",
    });
  }
});

test("on a host with glibc too it runs on its own musl where it is told to", () => {
  const env = { OFFSETOF_LIBC: "musl" };
  const onBoth = (...args: string[]) => {
    const command = [executable, ...args, "--format", "json"];
    return [documentOf(run(command, { env })), documentOf(run(command))] as const;
  };
  const [own, host] = onBoth("kernel");
  expect([own.tool.libc, host.tool.libc]).toEqual([MUSL, expect.stringMatching(/^glibc \d/)]);
  expect(own.kernel?.constants).toEqual(host.kernel?.constants ?? {});
  // The machine's libssl is made for glibc: its code and the tables answer, and why it is not probed is told.
  const [unprobed, probed] = onBoth("tls", "/usr/lib/x86_64-linux-gnu/libssl.so.3");
  const reasons = unprobed.diagnostics.filter(({ code }) => code === "W_TLS_PROBE");
  expect(reasons.map(({ message }) => message)).toEqual([
    expect.stringContaining("no glibc that this program runs on"),
  ]);
  expect(probed.diagnostics.filter(({ code }) => code === "W_TLS_PROBE")).toEqual([]);
  const { constants = {} } = unprobed.tls?.[0] ?? {};
  const told = Object.entries(constants).filter(([, value]) => value !== null);
  expect(told.length).toBeGreaterThan(10);
  expect(probed.tls?.[0]?.constants).toMatchObject(Object.fromEntries(told));
});
