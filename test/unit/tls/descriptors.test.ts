import { afterAll, beforeAll, expect, test } from "bun:test";
import {
  copyFileSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  rmSync,
  truncateSync,
  writeFileSync,
} from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import type { Scope } from "../../../src/tls/find/find.ts";
import { tlsReports } from "../../../src/tls/tls.ts";
import { debianPackage, fetchTimeout, loadSamples } from "./debian.ts";

const lib = "usr/lib/x86_64-linux-gnu";
let folder = "";
beforeAll(async () => {
  await loadSamples();
  folder = mkdtempSync(join(tmpdir(), "offsetof-descriptors-"));
}, fetchTimeout);
afterAll(() => rmSync(folder, { recursive: true }));

const descriptors = (): number => readdirSync("/proc/self/fd").length;

test("none is left open, however many files were looked at and whatever was wrong with them", async () => {
  const root = join(folder, "tree");
  mkdirSync(join(root, lib), { recursive: true });
  const { root: from } = debianPackage("bookworm", "amd64", "libssl3");
  for (let index = 0; index < 300; index++) {
    copyFileSync(join(from, lib, "libssl.so.3"), join(root, lib, `libssl.so.3.${index}`));
    if (index % 3 === 0) truncateSync(join(root, lib, `libssl.so.3.${index}`), 100 + index);
    writeFileSync(join(root, lib, `program-${index}.so`), Buffer.alloc(20_000, "\x7fELF"));
  }
  copyFileSync(join(from, lib, "libcrypto.so.3"), join(root, lib, "libcrypto.so.3"));
  const named = readdirSync(join(root, lib)).map((name) => join(root, lib, name));
  const scopes: Scope[] = [
    { kind: "machine", deep: true },
    {
      kind: "files",
      paths: [...named, ...named, "/nowhere", "/proc/self/root/nowhere", folder, "/bin/true"],
    },
  ];
  const look = async () => {
    for (const scope of scopes) {
      await tlsReports({
        root,
        proc: "/proc",
        scope,
        sources: ["table"],
        trust: [named[0] ?? "", "/nowhere"],
      });
    }
  };
  await look(); // what is loaded once stays
  const before = descriptors();
  await look();
  expect(descriptors()).toBe(before);
});
