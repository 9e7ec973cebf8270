import { beforeAll, describe, expect, test } from "bun:test";
import { join } from "node:path";
import { Elf } from "../../../src/elf/elf.ts";
import {
  admits,
  type LibsslNodes,
  libsslNodes,
  possibleSeries,
  seriesText,
} from "../../../src/tls/identify/version-nodes.ts";
import { parseRelease } from "../../../src/tls/layouts/release.ts";
import { debianPackage, fetchTimeout, loadSamples, samples } from "./debian.ts";

beforeAll(loadSamples, fetchTimeout);

const release = (text: string) => {
  const parsed = parseRelease(text);
  if (parsed === null) throw new Error(`${text} is no release`);
  return parsed;
};
/** A libssl that defines and needs these. */
const nodes = (defined: string[], needed: string[] = []): LibsslNodes => {
  const found = libsslNodes({
    defined: defined.map((one) => `OPENSSL_${one}`),
    needed: [
      { file: "libc.so.6", nodes: ["GLIBC_2.33"] },
      { file: "libcrypto.so.3", nodes: needed.map((one) => `OPENSSL_${one}`) },
    ],
  });
  if (found === null) throw new Error("no nodes of OpenSSL");
  return found;
};

describe("Debian's libraries", () => {
  const series: Record<string, string[]> = {
    bullseye: ["1.1.1"],
    bookworm: ["3.0", "3.1"],
    trixie: ["3.5"],
    sid: ["3.6"],
    experimental: ["4.0"],
  };
  test.each(samples)("$suite $arch $name", ({ suite, arch, name }) => {
    const { root, version } = debianPackage(suite, arch, name);
    const [file = ""] = new Bun.Glob("**/libssl.so*").scanSync({ cwd: root });
    using elf = Elf.open(join(root, file));
    const found = libsslNodes(elf.versionNodes());
    if (name === "android-libboringssl") return expect(found).toBeNull();
    if (found === null) throw new Error("no nodes");
    expect(possibleSeries(found)).toEqual(series[suite] ?? []);
    // What the package says of itself, and every other package's version.
    const own = release(version.replace(/-.*$/, ""));
    expect(admits(found, own)).toBe(true);
    for (const other of samples.filter((one) => one.suite !== suite && one.name !== "android-libboringssl")) {
      const theirs = debianPackage(other.suite, other.arch, other.name).version.replace(/-.*$/, "");
      expect([theirs, admits(found, release(theirs))]).toEqual([theirs, false]);
    }
  });
});

describe("the series that nodes allow", () => {
  // As the releases of each series have them: see src/tls/identify/version-nodes.ts.
  test.each([
    ["1.1.0", ["1_1_0", "1_1_0d"], ["1_1_0i"], "OpenSSL 1.1.0"],
    ["1.1.1", ["1_1_0", "1_1_0d", "1_1_1"], ["1_1_1"], "OpenSSL 1.1.1"],
    ["3.1", ["3.0.0"], ["3.0.0", "3.0.3"], "OpenSSL 3.0 or 3.1"],
    ["3.1, by what it needs", ["3.0.0"], ["3.1.0"], "OpenSSL 3.1"],
    ["3.2", ["3.0.0", "3.2.0"], ["3.2.0"], "OpenSSL 3.2"],
    ["3.3", ["3.0.0", "3.2.0", "3.3.0"], ["3.3.0"], "OpenSSL 3.3"],
    ["3.4", ["3.4.0", "3.0.0", "3.2.0", "3.3.0"], ["3.4.0"], "OpenSSL 3.4"],
    ["4.0", ["4.0.0"], ["4.0.0"], "OpenSSL 4.0 or later"],
    ["one that contradicts itself", ["3.0.0"], ["3.5.0"], "no series of OpenSSL"],
  ])("%s", (_, defined, needed, text) => {
    expect(seriesText(nodes(defined, needed))).toBe(text);
  });

  test("a bare 1.1.1 is not 1.1.1a or later, which brought a symbol to libssl", () => {
    const [bare, later] = [nodes(["1_1_0", "1_1_1"]), nodes(["1_1_1", "1_1_1a"])];
    const told = (one: LibsslNodes) =>
      ["1.1.0l", "1.1.1", "1.1.1 FIPS", "1.1.1a", "1.1.1w", "3.0.0"].filter((text) =>
        admits(one, release(text)),
      );
    expect(told(bare)).toEqual(["1.1.1", "1.1.1 FIPS"]);
    expect(told(later)).toEqual(["1.1.1a", "1.1.1w"]);
  });

  test("a pre-release may have its release's nodes, or not yet", () => {
    const beta = release("3.5.0-beta1");
    expect(admits(nodes(["3.0.0", "3.5.0"]), beta)).toBe(true);
    expect(admits(nodes(["3.0.0", "3.2.0", "3.3.0", "3.4.0"]), beta)).toBe(true);
    expect(admits(nodes(["3.0.0", "3.2.0"]), beta)).toBe(false);
  });

  test("a vendor's suffix does not count", () => {
    expect(admits(nodes(["3.0.0"]), release("3.0.15+quic"))).toBe(true);
    expect(admits(nodes(["3.0.0"]), release("3.2.0+quic"))).toBe(false);
  });

  test("nodes of other libraries, and of vendors, tell nothing", () => {
    expect(libsslNodes({ defined: ["GNUTLS_3_4", "OPENSSL_1_1_1_SUSE"], needed: [] })).toBeNull();
    expect(
      libsslNodes({ defined: [], needed: [{ file: "libcrypto.so.3", nodes: ["OPENSSL_3.0.0"] }] }),
    ).toBeNull();
  });
});
