/** Where functions begin that no symbol tells. The truth is the symbols, which are not looked at. */
import { beforeAll, describe, expect, test } from "bun:test";
import { join } from "node:path";
import { loadPackage } from "../../../assets/build/debian.ts";
import { Elf } from "../../../src/elf/elf.ts";
import type { KnownLibrary } from "../../../src/tls/layouts/layouts.ts";
import { readReferences } from "../../../src/tls/references/references.ts";
import { functionsIn, names } from "./binutils.ts";
import { debianPackage, fetchTimeout, loadSamples } from "./debian.ts";
import { loadNode, nodeSamples } from "./node.ts";

beforeAll(loadSamples, fetchTimeout);

const folders = { amd64: "x86_64-linux-gnu", arm64: "aarch64-linux-gnu" } as const;

/** What strings lead to, by name. */
async function told(
  path: string,
  library: KnownLibrary,
  functions: readonly string[] = names,
): Promise<ReadonlyMap<string, number>> {
  using elf = Elf.open(path, path, { follow: true });
  const read = readReferences(library, elf, { constants: new Set(), functions });
  return new Map(
    [...read.functions].flatMap(
      ([
        name,
        {
          addresses: [address, ...more],
        },
      ]) => (address === undefined || more.length > 0 ? [] : [[name, address] as const]),
    ),
  );
}

/** What is told, of which all that binutils knows is right. */
async function right(path: string, library: "openssl" | "boringssl"): Promise<readonly string[]> {
  const truth = functionsIn(path);
  const found = await told(path, library);
  const compared = [...found].filter(([name]) => truth[name] !== undefined);
  expect(compared).toEqual(compared.map(([name]) => [name, truth[name]?.[0] ?? -1]));
  return [...found.keys()];
}

const withoutWriteEx = names.filter((name) => name !== "SSL_write_ex");
describe("Debian's libssl, whose symbols are not looked at", () => {
  test.each([
    { suite: "bullseye", arch: "amd64", name: "libssl1.1", file: "libssl.so.1.1", expected: names },
    { suite: "bullseye", arch: "arm64", name: "libssl1.1", file: "libssl.so.1.1", expected: names },
    { suite: "bookworm", arch: "amd64", name: "libssl3", file: "libssl.so.3", expected: names },
    // The names stand in one piece, whose address code has, and adds how far each is in it.
    { suite: "bookworm", arch: "arm64", name: "libssl3", file: "libssl.so.3", expected: names },
    // SSL_write_ex jumps to SSL_write_ex2 by way of the linkage table.
    { suite: "trixie", arch: "amd64", name: "libssl3t64", file: "libssl.so.3", expected: withoutWriteEx },
    { suite: "experimental", arch: "amd64", name: "libssl4", file: "libssl.so.4", expected: names },
    { suite: "experimental", arch: "arm64", name: "libssl4", file: "libssl.so.4", expected: names },
  ] as const)("$name of $suite $arch", async ({ suite, arch, name, file, expected }) => {
    const { root } = debianPackage(suite, arch, name);
    const found = await right(join(root, "usr/lib", folders[arch], file), "openssl");
    expect(found).toEqual(expect.arrayContaining([...expected]));
  });
});

const transfers = ["SSL_read", "SSL_write", "ssl_log_secret"];
test.each([
  // There SSL_read calls SSL_peek by way of the linkage table.
  { suite: "bullseye", arch: "amd64", expected: ["SSL_write", "ssl_log_secret"] },
  { suite: "bookworm", arch: "amd64", expected: transfers },
  { suite: "bookworm", arch: "arm64", expected: transfers },
  { suite: "trixie", arch: "amd64", expected: transfers },
] as const)("Debian's BoringSSL of $suite $arch", async ({ suite, arch, expected }) => {
  const { root } = debianPackage(suite, arch, "android-libboringssl");
  const found = await right(join(root, "usr/lib", folders[arch], "android/libssl.so.0"), "boringssl");
  expect(found.toSorted()).toEqual([...expected].toSorted());
});

test.each(
  nodeSamples.filter(({ arch, version }) =>
    ["x64 16.20.2", "x64 20.20.2", "arm64 20.20.2"].includes(`${arch} ${version}`),
  ),
)("Node.js $version $arch: all of them, what has the inner function inlined too", async (sample) => {
  const found = await right(await loadNode(sample), "openssl");
  expect(found.toSorted()).toEqual(names.toSorted());
});

const keyLog = "_gnutls_call_keylog_func";
/** Offsets from the first argument that binutils sees in a function's first instructions, up to 32 bytes of them. */
function reached(path: string, from: number): readonly string[] {
  const stretch = [`--start-address=${from}`, `--stop-address=${from + 32}`];
  const { stdout } = Bun.spawnSync(["objdump", "-d", ...stretch, path]);
  return [...stdout.toString().matchAll(/0x([0-9a-f]+)\(%rdi\)/g)].map(([, offset = ""]) => offset);
}

test("GnuTLS: what hands secrets on to the session's function is what begins with that function", async () => {
  const path = "/usr/lib/x86_64-linux-gnu/libgnutls.so.30";
  const { stdout } = Bun.spawnSync(["readelf", "-W", "--dyn-syms", path]);
  const [, at = ""] =
    /([0-9a-f]+) +\d+ FUNC .* gnutls_session_get_keylog_function@/.exec(stdout.toString()) ?? [];
  const [own = ""] = reached(path, Number.parseInt(at, 16));
  const found = await told(path, "gnutls", [keyLog]);
  expect(own).not.toBe("");
  expect(reached(path, found.get(keyLog) ?? 0)[0]).toBe(own);
});

test.each(["amd64", "arm64"] as const)("and one is found in Debian's of %s", async (arch) => {
  const { root } = await loadPackage("trixie", "libgnutls30t64", arch);
  const [path = ""] = new Bun.Glob("usr/lib/*/libgnutls.so.30").scanSync({ cwd: root, absolute: true });
  expect([...(await told(path, "gnutls", [keyLog])).keys()]).toEqual([keyLog]);
});
