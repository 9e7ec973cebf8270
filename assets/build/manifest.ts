import { join } from "node:path";
import * as v from "valibot";
import { assets } from "./paths.ts";

const manifestSchema = v.strictObject({
  /** Versions of what the assets are built with, by name. */
  tools: v.record(v.string(), v.string()),
  /** Versions of the source packages that take part, by name. */
  sources: v.record(v.string(), v.string()),
  /** Every built file below assets/, by path. */
  files: v.record(
    v.string(),
    v.strictObject({
      sha256: v.pipe(v.string(), v.regex(/^[0-9a-f]{64}$/)),
      size: v.pipe(v.number(), v.integer(), v.minValue(1)),
    }),
  ),
});

export type Manifest = v.InferOutput<typeof manifestSchema>;
export type ManifestEntry = Manifest["files"][string];

const MANIFEST = join(assets, "manifest.json");

export async function readManifest(): Promise<Manifest> {
  return v.parse(manifestSchema, await Bun.file(MANIFEST).json());
}

export async function writeManifest(manifest: Manifest): Promise<void> {
  const files = Object.fromEntries(Object.entries(manifest.files).sort(([a], [b]) => (a < b ? -1 : 1)));
  await Bun.write(MANIFEST, `${JSON.stringify({ ...manifest, files }, null, 2)}\n`);
}

/** The manifest's row for the file at `path`. */
export async function measure(path: string): Promise<ManifestEntry> {
  const bytes = await Bun.file(path).bytes();
  return { sha256: new Bun.CryptoHasher("sha256").update(bytes).digest("hex"), size: bytes.byteLength };
}

/** Paths below assets/ of every file that a build made: what the manifest must know, and nothing else. */
export async function builtFiles(): Promise<string[]> {
  const found = await Array.fromAsync(new Bun.Glob("{bpf,launcher,lib,wasm}/**/*").scan({ cwd: assets }));
  return found.sort();
}
