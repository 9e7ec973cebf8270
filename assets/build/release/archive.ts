import { run } from "../run.ts";
import { environment, type Release } from "./machines.ts";

/** Archives by the ending of their name, and the command that compresses them on its standard input. */
export const compressors = {
  gz: { best: "gzip -9n", fast: "gzip -1n" },
  // A window of 8 MiB: any zstd unpacks it without being asked to take more memory.
  zst: { best: "zstd -q -19 -T2", fast: "zstd -q -1 -T2" },
} as const;

/** GNU tar of a folder's content: sorted, root's, with one time, and nothing of this machine. */
const pack = (folder: string, names: string): string =>
  `tar --create --format=gnu --sort=name --owner=root:0 --group=root:0 --numeric-owner --directory ${quoted(folder)} ${names}`;

/** Writes names of `folder`, as laid there, into a tar. */
export async function writeTar(folder: string, names: readonly string[], to: string): Promise<void> {
  await run(["sh", "-c", `${pack(folder, names.map(quoted).join(" "))} > ${quoted(to)}`]);
}

/** Writes the folder `name` of `folder` into `to` with an ending for each compressor. */
export async function writeArchives(
  folder: string,
  name: string,
  to: string,
  release: Release,
): Promise<void> {
  for (const [ending, commands] of Object.entries(compressors)) {
    const line = `${pack(folder, quoted(name))} | ${commands[release.effort]} > ${quoted(`${to}.tar.${ending}`)}`;
    await run(["bash", "-c", `set -o pipefail; ${line}`], { env: environment(release) });
  }
}

/** A word of a shell. */
const quoted = (word: string): string => `'${word.replaceAll("'", `'\\''`)}'`;
