import { mkdir } from "node:fs/promises";
import { dirname, join } from "node:path";
import { zig } from "./zig.ts";

/** What finds instructions in machine code, one for every architecture: see scanner/scanner.c. */
export const scannerPath = "wasm/scanner.wasm";

const folder = join(import.meta.dir, "scanner");

const flags = [
  ...["-std=c11", "-O3", "-ffreestanding", "-fno-builtin", "-nostdlib", "-s", "-Wall", "-Wextra", "-Werror"],
  // zig itself gives clang one that means nothing for this target.
  ...["-Wno-unused-command-line-argument", "-Wl,--no-entry"],
  ...["window", "hits", "count", "wanted", "near", "__heap_base"].map((name) => `-Wl,--export=${name}`),
];

/** Builds it. @param output path of the module; the same source and compiler give the same bytes */
export async function buildScanner(output: string, cache: string): Promise<void> {
  await mkdir(dirname(output), { recursive: true });
  const source = join(folder, "scanner.c");
  await zig(["cc", "-target", "wasm32-freestanding", ...flags, "-o", output, source], { cwd: folder, cache });
}
