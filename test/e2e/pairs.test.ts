import { beforeAll, expect, test } from "bun:test";
import { readdirSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { type LoadedPackage, loadPackage } from "../../assets/build/debian.ts";
import { truthOf } from "../truth/read.ts";
import { wrongNumbers } from "../truth/wrong.ts";
import { documentOf, executable, run, Scratch } from "./executable.ts";

/** A series of OpenSSL: Debian's package of it, and what its headers say of the structs. */
const series = {
  "1.1.1": { suite: "bullseye", name: "libssl1.1", truth: "openssl-1.1.1w" },
  "3.0": { suite: "bookworm", name: "libssl3", truth: "openssl-3.0.20" },
  "3.5": { suite: "trixie", name: "libssl3t64", truth: "openssl-3.5.7" },
  "3.6": { suite: "sid", name: "libssl3t64", truth: "openssl-3.6.3" },
  "4.0": { suite: "experimental", name: "libssl4", truth: "openssl-4.0.2" },
} as const;
type Series = keyof typeof series;

const packages = new Map<Series, LoadedPackage>();
/** Fetching them the first time included. */
const TIMEOUT = 600_000;
beforeAll(async () => {
  for (const key of Object.keys(series) as Series[])
    packages.set(key, await loadPackage(series[key].suite, series[key].name));
}, TIMEOUT);

/** A libssl beside the libcrypto of another series, under the name that it asks for. */
const pairs: readonly (readonly [Series, Series])[] = [
  ["3.0", "3.5"],
  ["3.0", "3.6"],
  ["3.0", "4.0"],
  ["3.0", "1.1.1"],
  ["3.5", "3.0"],
  ["3.5", "3.6"],
  ["3.6", "3.0"],
  ["4.0", "3.0"],
  ["1.1.1", "3.0"],
];

/** A library of Debian's package, and its name there. */
async function debian(
  key: Series,
  library: "libssl" | "libcrypto",
): Promise<{ name: string; bytes: Uint8Array }> {
  const folder = "root/usr/lib/x86_64-linux-gnu";
  const { cached } =
    packages.get(key) ??
    (() => {
      throw new Error(`${key} was not loaded`);
    })();
  const name =
    readdirSync(join(cached.folder, folder)).find((file) => file.startsWith(`${library}.so.`)) ?? "";
  return { name, bytes: await cached.read(`${folder}/${name}`) };
}

/** Puts the two into a folder. The path of libssl. */
async function lay(scratch: Scratch, ssl: Series, crypto: Uint8Array): Promise<string> {
  const { name, bytes } = await debian(ssl, "libssl");
  writeFileSync(scratch.at(name.replace("libssl", "libcrypto")), crypto);
  writeFileSync(scratch.at(name), bytes);
  return scratch.at(name);
}

/** Structs of libcrypto's, which may well be measured of the one beside it. */
const cryptos = /^bio_/;

function truthOfPair(ssl: Series, crypto: Series): Readonly<Record<string, number>> {
  const of = (key: Series, isCryptos: boolean) =>
    Object.entries(truthOf(series[key].truth)).filter(([member]) => cryptos.test(member) === isCryptos);
  return Object.fromEntries([...of(ssl, false), ...of(crypto, true)]);
}

function check(path: string, ssl: Series, crypto: Series): void {
  const truth = truthOfPair(ssl, crypto);
  const tls = (...flags: string[]) => run([executable, "tls", path, "--trust", path, ...flags]);
  const result = tls();
  const document = documentOf(result);
  expect(wrongNumbers(document, truth)).toEqual([]);
  const told = document.diagnostics.filter(({ code }) => code === "W_TLS_VERSION");
  expect(told.map(({ message }) => message)).toEqual([expect.stringContaining(path)]);
  // What libcrypto says is not libssl's version.
  const [library] = document.tls ?? [];
  expect(library?.library).toBe("openssl");
  expect(library?.version ?? ssl).toStartWith(ssl);
  const isAllKnown = !Object.values(library?.constants ?? {}).includes(null);
  expect(result.status).toBe(isAllKnown ? 0 : 3);
  // Where tables may speak for themselves, it is still not of a struct that this libssl does not have.
  for (const sources of ["probe,code,table", "code,table", "table"]) {
    const assumed = documentOf(tls("--allow", "assumed", "--source", sources));
    expect(wrongNumbers(assumed, truth).filter((wrong) => wrong.truth === null)).toEqual([]);
  }
}

test.each(pairs)(
  "libssl of %s beside libcrypto of %s",
  async (ssl, crypto) => {
    using scratch = new Scratch();
    check(await lay(scratch, ssl, (await debian(crypto, "libcrypto")).bytes), ssl, crypto);
  },
  TIMEOUT,
);

test(
  "libssl of 3.0 beside its own libcrypto that says it is 3.5",
  async () => {
    using scratch = new Scratch();
    const { bytes } = await debian("3.0", "libcrypto");
    const text = Buffer.from(bytes).toString("latin1");
    const said = /OpenSSL 3\.0\.\d+ \d+ [A-Z][a-z]+ 20\d\d\0/.exec(text);
    const patched = new Uint8Array(bytes);
    patched.set(
      Buffer.from("OpenSSL 3.5.7 9 Jun 2026\0".padEnd(said?.[0].length ?? 0, "\0")),
      said?.index ?? -1,
    );
    check(await lay(scratch, "3.0", patched), "3.0", "3.0");
  },
  TIMEOUT,
);
