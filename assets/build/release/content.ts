import { chmod, cp, mkdir, readdir, utimes } from "node:fs/promises";
import { dirname, join } from "node:path";
import { gzipSync } from "node:zlib";
import { repository } from "../paths.ts";
import type { Product, Release } from "./machines.ts";

/** A file of a package: where it lies there, its permissions, and its bytes or the file that has them. */
export interface Entry {
  readonly path: string;
  readonly mode: number;
  readonly content: { readonly file: string } | { readonly bytes: string | Uint8Array };
}

const fromCheckout = (path: string, source: string): Entry => ({
  path,
  mode: 0o644,
  content: { file: join(repository, source) },
});

/** Where a package of a distribution has its documents. */
export const DOCUMENTS = "usr/share/doc/offsetof";

/** What packages say of it, in lines of a terminal. */
export const DESCRIPTION = [
  "One executable that tells, as JSON, where struct fields lie that publish no",
  "layout: the running kernel's socket structs, and the OpenSSL and BoringSSL on",
  "the machine. It needs no headers, no debug info, no compiler and no network,",
  "and no other package. What it may need of the machine (capabilities, mounts)",
  `is told in /${DOCUMENTS}/docs/install.md and by "offsetof detect".`,
];

/** Notices that go with the executable wherever it goes. */
export async function notices(folder: string): Promise<Entry[]> {
  const texts = (await readdir(join(repository, "licenses"))).sort().map((name) => `licenses/${name}`);
  return ["LICENSE", "THIRD_PARTY.md", ...texts].map((path) => fromCheckout(`${folder}${path}`, path));
}

/** JSON Schemas, by the path below a folder. */
async function schemas(folder: string): Promise<Entry[]> {
  const names = (await readdir(join(repository, "docs/schema"))).sort();
  return names.map((name) => fromCheckout(`${folder}${name}`, `docs/schema/${name}`));
}

const executableAt = (path: string, { executable }: Product): Entry => ({
  path,
  mode: 0o755,
  content: { file: executable },
});

/** What lies beside the executables in a release, of no architecture. */
export const besides = async (): Promise<Entry[]> => [
  fromCheckout("offsetof.1", "docs/offsetof.1"),
  fromCheckout("completions/offsetof.bash", "docs/completions/offsetof.bash"),
  fromCheckout("completions/_offsetof", "docs/completions/_offsetof"),
  ...(await schemas("schema/")),
];

const documents = ["README.md", "CHANGELOG.md", "SECURITY.md", "docs/install.md"] as const;

/** What an archive holds. */
export const archived = async (product: Product): Promise<Entry[]> => [
  executableAt("offsetof", product),
  ...(await besides()),
  ...documents.map((path) => fromCheckout(path, path)),
  ...(await notices("")),
  { path: "offsetof.cdx.json", mode: 0o644, content: { bytes: product.materials } },
];

/** Where distributions keep completions for zsh that packages bring. */
export const zshFolders = { debian: "vendor-completions", rpm: "site-functions" } as const;

/** What a package of a distribution installs: it belongs to no other package, and needs none. */
export const installed = async (product: Product, kind: keyof typeof zshFolders): Promise<Entry[]> => {
  const manual = await Bun.file(join(repository, "docs/offsetof.1")).bytes();
  return [
    executableAt("usr/bin/offsetof", product),
    { path: "usr/share/man/man1/offsetof.1.gz", mode: 0o644, content: { bytes: zipped(manual) } },
    fromCheckout("usr/share/bash-completion/completions/offsetof", "docs/completions/offsetof.bash"),
    fromCheckout(`usr/share/zsh/${zshFolders[kind]}/_offsetof`, "docs/completions/_offsetof"),
    ...(await schemas("usr/share/offsetof/schema/")),
    ...documents.map((path) => fromCheckout(`${DOCUMENTS}/${path}`, path)),
    ...(await notices(`${DOCUMENTS}/`)),
    { path: `${DOCUMENTS}/offsetof.cdx.json`, mode: 0o644, content: { bytes: product.materials } },
  ];
};

/** As `gzip -9n` has it: no name and no time inside. */
export const zipped = (bytes: string | Uint8Array): Uint8Array => gzipSync(bytes, { level: 9 });

/** Writes files below a folder, with these permissions and one time, whatever the caller's umask is. */
export async function lay(folder: string, entries: readonly Entry[], { date }: Release): Promise<void> {
  const folders = new Set<string>([folder]);
  for (const { path, mode, content } of entries) {
    const to = join(folder, path);
    for (let above = dirname(to); above !== folder; above = dirname(above)) folders.add(above);
    await mkdir(dirname(to), { recursive: true });
    if ("file" in content) await cp(content.file, to, { dereference: true });
    else await Bun.write(to, content.bytes);
    await chmod(to, mode);
    await utimes(to, date, date);
  }
  for (const each of folders) {
    await chmod(each, 0o755);
    await utimes(each, date, date);
  }
}
