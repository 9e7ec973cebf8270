import { afterAll, beforeAll, describe, expect, test } from "bun:test";
import {
  mkdirSync,
  mkdtempSync,
  realpathSync,
  renameSync,
  rmSync,
  symlinkSync,
  writeFileSync,
} from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { SystemError } from "../../../ffi/error.ts";
import { Root } from "../../../src/host/root.ts";
import { InputFile } from "../../../src/input/input.ts";

let folder = "";
beforeAll(() => {
  folder = mkdtempSync(join(tmpdir(), "offsetof-root-"));
  mkdirSync(join(folder, "usr/lib/deep"), { recursive: true });
  mkdirSync(join(folder, "etc"));
  writeFileSync(join(folder, "usr/lib/libssl.so.3"), "");
  const link = (target: string, path: string) => symlinkSync(target, join(folder, path));
  link("usr/lib", "lib");
  link("/usr/lib", "lib64");
  link("/etc/passwd", "usr/lib/host");
  link("../../../../../../usr/lib/libssl.so.3", "usr/lib/deep/up");
  link("/usr/lib/libssl.so.3", "etc/absolute");
  link("loop", "usr/lib/loop");
  link("../lib64/deep/../libssl.so.3", "etc/winding");
  for (let step = 0; step < 41; step++) link(`chain${step + 1}`, `etc/chain${step}`);
  writeFileSync(join(folder, "etc/chain41"), "");
});
afterAll(() => rmSync(folder, { recursive: true }));

describe("links are followed inside the root", () => {
  test.each([
    ["/lib/libssl.so.3", "/usr/lib/libssl.so.3"],
    ["/lib64/libssl.so.3", "/usr/lib/libssl.so.3"],
    ["/lib/deep/up", "/usr/lib/libssl.so.3"],
    ["/etc/absolute", "/usr/lib/libssl.so.3"],
    ["/etc/winding", "/usr/lib/libssl.so.3"],
    ["/../../usr/./lib//libssl.so.3", "/usr/lib/libssl.so.3"],
    ["/", "/"],
    // The host has such a file, the root has not.
    ["/lib/host", null],
    ["/lib/loop", null],
    ["/etc/none", null],
    ["/usr/lib/libssl.so.3/below", null],
    // The kernel follows 40 links and no more.
    ["/etc/chain1", "/etc/chain41"],
    ["/etc/chain0", null],
  ])("%s is %p", (path, real) => {
    expect(new Root(folder).resolve(path)).toBe(real);
  });

  test("in the root / as the kernel does", () => {
    for (const path of ["/lib", "/bin/sh", "/proc/self/../1", "/etc/ld.so.cache", "/usr/lib/os-release"]) {
      expect(new Root("/").resolve(path)).toBe(realpathSync(path));
    }
  });

  test("a relative root is refused", () => {
    expect(() => new Root("tmp")).toThrow("root tmp is relative: give an absolute path");
  });

  test("one of the kernel's own in procfs is not followed: it leads to a file, whatever text it shows", () => {
    const root = new Root("/");
    for (const path of ["/proc/self/root/etc", "/proc/self/cwd", "/proc/self/exe", "/dev/fd/0"]) {
      expect(root.resolve(path)).toBeNull();
    }
    expect(root.resolve("/proc/mounts")).toBe(`/proc/${process.pid}/mounts`);
  });
});

/** Device and inode of what lies at a path; undefined where nothing does. */
function identityAt(root: Root, path: string): string | undefined {
  using reached = root.reach(path);
  return reached?.identity;
}

test("a root is the folder that it was, whatever lies at its path by now", () => {
  const [place, elsewhere] = [join(folder, "place"), join(folder, "elsewhere")];
  mkdirSync(place);
  writeFileSync(join(place, "mine"), "");
  const root = new Root(place);
  renameSync(place, elsewhere);
  mkdirSync(place);
  writeFileSync(join(place, "other"), "");
  expect([root.resolve("/mine"), root.resolve("/other")]).toEqual(["/mine", null]);
  expect(identityAt(root, "/mine")).toBe(identityAt(new Root(elsewhere), "/mine"));
  expect(root.way("/mine")?.map(({ path }) => path)).toEqual(["/", "/mine"]);
});

test("a library whose folder is changed for a link while it is looked for never comes from outside", async () => {
  const tree = join(folder, "swapped");
  mkdirSync(join(tree, "lib"), { recursive: true });
  writeFileSync(join(tree, "lib/file"), "");
  mkdirSync(join(folder, "outside"));
  writeFileSync(join(folder, "outside/file"), "");
  const script = `cd "$0"; while :; do mv -T lib real; ln -s ../outside lib; rm lib; ln -s ${folder}/outside lib; rm lib; mv -T real lib; done`;
  await using _swapper = Bun.spawn(["sh", "-c", script, tree], { stderr: "ignore" });
  const root = new Root(tree);
  const outside = identityAt(new Root(folder), "/outside/file");
  for (let round = 0; round < 20_000; round++) expect(identityAt(root, "/lib/file")).not.toBe(outside);
});

test("a file system whose server has gone hides what it has, and ends nothing", async () => {
  const path = join(folder, "etc/served");
  writeFileSync(path, "");
  const program = join(folder, "fuse");
  const source = join(import.meta.dir, "fuse.c");
  expect(Bun.spawnSync(["cc", "-O1", "-Wall", "-o", program, source]).success).toBe(true);
  const server = Bun.spawn([program, path], { stdout: "pipe" });
  try {
    for await (const said of server.stdout) {
      expect(Buffer.from(said).toString()).toBe("ready\n");
      break;
    }
    server.kill("SIGKILL");
    await server.exited;
    const root = new Root(folder);
    expect(root.resolve("/etc/served")).toBeNull();
    expect(() => root.find("/etc/served")).toThrow(SystemError);
    expect(() => InputFile.open(path)).toThrow(`stat ${path}: ENOTCONN`);
  } finally {
    Bun.spawnSync(["umount", "--lazy", path]);
    server.kill("SIGKILL");
  }
});
