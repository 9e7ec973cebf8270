import { expect, test } from "bun:test";
import { copyFileSync, mkdirSync } from "node:fs";
import { join } from "node:path";
import { documentOf, executable, type Run, run, Scratch } from "../e2e/executable.ts";
import { wrongNumbers } from "../truth/wrong.ts";
import { buildForMusl } from "./musl.ts";
import { isAllChosen } from "./variants.ts";

/** A build from nothing on a busy machine included. Milliseconds. */
const TIMEOUT = 3_600_000;

/** The executable and the library in a root with musl's folders and nothing else. */
function inMuslRoot(folder: string, ...args: string[]): Run {
  using root = new Scratch();
  for (const path of ["proc", "lib"]) mkdirSync(root.at(path));
  copyFileSync(executable, root.at("offsetof"));
  for (const name of ["libssl.so.3", "libcrypto.so.3"])
    copyFileSync(join(folder, name), root.at(`lib/${name}`));
  run(["chmod", "755", root.path]);
  const script = `mount -t proc proc ${root.at("proc")} && exec chroot ${root.path} /offsetof "$@"`;
  return run(["unshare", "--mount", "sh", "-c", script, "sh", ...args]);
}

test.skipIf(!isAllChosen())(
  "a libssl made for musl is probed in a root with musl, and on a host with glibc beside the musl inside",
  async () => {
    const { folder, truth } = await buildForMusl();
    const library = join(folder, "libssl.so.3");
    const trusted = ["--trust", library, "--trust", join(folder, "libcrypto.so.3")];
    for (const [libc, result] of [
      ["musl", inMuslRoot(folder, "tls", "/lib/libssl.so.3", "--format", "json")],
      ["glibc", run([executable, "tls", library, ...trusted, "--format", "json"])],
    ] as const) {
      const document = documentOf(result);
      expect(document.tool.libc).toStartWith(libc);
      expect(document.diagnostics.filter(({ code }) => code === "W_TLS_PROBE")).toEqual([]);
      expect(wrongNumbers(document, truth)).toEqual([]);
      const fields = Object.values(document.tls?.[0]?.fields ?? {});
      expect(fields.filter(({ evidence }) => evidence.probe !== undefined).length).toBeGreaterThan(12);
    }
  },
  TIMEOUT,
);
