import { afterAll, beforeAll, describe, expect, test } from "bun:test";
import { mkdirSync, mkdtempSync, realpathSync, rmSync, symlinkSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { Root } from "../../../src/tls/root.ts";

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
});
