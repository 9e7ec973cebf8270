import { existsSync, readFileSync } from "node:fs";

/** A processor architecture, as the runtime names it; there is one executable for each. */
export type Arch = "x64" | "arm64";

/** Folders under assets/ whose files serve one architecture, or all; the executable embeds these and no others, side by side. */
export const assetFolders = (arch: Arch): string[] => [`lib/${arch}`, `bpf/${arch}`, "wasm"];

/** The architecture that this program runs on. */
export const arch: Arch = process.arch === "arm64" ? "arm64" : "x64";

/** True in the executable, false from source. */
export const isEmbedded = import.meta.dir.startsWith("/$bunfs/");

/**
 * The bytes of an asset by its file name, e.g. `libbpf.so` or `socket_guess.o`.
 * In the executable they come from its own image: nothing is written to disk.
 * @throws when the asset was not built for this architecture.
 */
export function assetBytes(name: string): Uint8Array {
  const path = isEmbedded ? `${import.meta.dir}/${name}` : sourcePath(name);
  if (path === undefined || !existsSync(path)) {
    throw new Error(`asset ${name} is missing for ${arch}: run "bun run build:assets" and build again`);
  }
  return readFileSync(path);
}

const sourcePath = (name: string): string | undefined =>
  assetFolders(arch)
    .map((folder) => `${import.meta.dir}/../../assets/${folder}/${name}`)
    .find((path) => existsSync(path));
