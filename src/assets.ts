import { existsSync, readFileSync } from "node:fs";
import { arch as hostArch } from "node:process";

/** A kind of machine that one executable serves. */
export interface Target {
  readonly arch: "x64" | "arm64";
  readonly libc: "glibc" | "musl";
}

/** Set by build.ts; from source there is no such name. */
declare const TARGET_LIBC: Target["libc"] | undefined;

/** Files of npm packages that every executable embeds, from the repository's root. */
export const packagedAssets: readonly string[] = ["node_modules/capstone-wasm/dist/capstone.wasm"];

/** Folders under assets/ whose files serve one target; the executable embeds these and no others, side by side. */
export const assetFolders = ({ arch, libc }: Target): string[] => [`lib/${arch}-${libc}`, `bpf/${arch}`];

/** What this program runs on: fixed at build time; from source, the machine it runs on. */
export const target: Target = {
  arch: hostArch === "arm64" ? "arm64" : "x64",
  libc: typeof TARGET_LIBC === "undefined" ? runtimeLibc() : TARGET_LIBC,
};

/** True in the executable, false from source. */
export const isEmbedded = import.meta.dir.startsWith("/$bunfs/");

/**
 * The bytes of an asset by its file name, e.g. `libbpf.so` or `socket_guess.o`.
 * In the executable they come from its own image: nothing is written to disk.
 * @throws when the asset was not built for this target.
 */
export function assetBytes(name: string): Uint8Array {
  const path = isEmbedded ? `${import.meta.dir}/${name}` : sourcePath(name);
  if (path === undefined || !existsSync(path)) {
    throw new Error(
      `asset ${name} is missing for ${target.arch}-${target.libc}: run "bun run build:assets" and build again`,
    );
  }
  return readFileSync(path);
}

const sourcePath = (name: string): string | undefined =>
  [
    ...assetFolders(target).map((folder) => `assets/${folder}/${name}`),
    ...packagedAssets.filter((path) => path.endsWith(`/${name}`)),
  ]
    .map((path) => `${import.meta.dir}/../${path}`)
    .find((path) => existsSync(path));

/** musl's loader shows among the mapped files of every dynamic program that uses it. */
function runtimeLibc(): Target["libc"] {
  return readFileSync("/proc/self/maps", "latin1").includes("/ld-musl-") ? "musl" : "glibc";
}
