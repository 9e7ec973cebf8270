import { mkdir, readdir } from "node:fs/promises";
import { join } from "node:path";
import packageJson from "../../../package.json" with { type: "json" };
import { repository } from "../paths.ts";
import { attempt, run } from "../run.ts";
import { installRuntime } from "../runtime.ts";
import { writeArchives } from "./archive.ts";
import { archived, besides, lay } from "./content.ts";
import { writeDeb } from "./deb.ts";
import { type Machine, machines, type Product, type Release } from "./machines.ts";
import { writeImage } from "./oci.ts";
import { writeRpm } from "./rpm.ts";
import { billOfMaterials } from "./sbom.ts";

/** The date of a tree without git: 2026-01-01. */
const NO_GIT = 1_767_225_600;

/** What package.json and the last commit say. SOURCE_DATE_EPOCH goes before the commit. */
export async function currentRelease(effort: Release["effort"]): Promise<Release> {
  const { version, description } = packageJson;
  return {
    version,
    description,
    date: Number(process.env.SOURCE_DATE_EPOCH ?? (await lastCommit())),
    effort,
  };
}

async function lastCommit(): Promise<number> {
  const { status, stdout } = await attempt(["git", "log", "-1", "--format=%ct"], { cwd: repository });
  return status === 0 ? Number(stdout) : NO_GIT;
}

/** The executable of an architecture as build.ts makes it, with its bill of materials. */
export async function product(machine: Machine, release: Release): Promise<Product> {
  if (machine.arch === "arm64") await installRuntime();
  await run([process.execPath, "build.ts", "--target", machine.target], { cwd: repository });
  const executable = join(repository, "dist", machine.target, "offsetof");
  return { machine, executable, materials: await billOfMaterials(machine, executable, release) };
}

/**
 * Writes a release into an empty folder.
 *
 * @param scratch a folder for what is made on the way
 */
export async function writeRelease(folder: string, release: Release, scratch: string): Promise<void> {
  const { version } = release;
  await mkdir(folder, { recursive: true });
  const products: Product[] = [];
  for (const machine of machines) products.push(await product(machine, release));
  await lay(folder, await besides(), release);
  const below = (name: string) => join(scratch, name);
  const perProduct = products.map((each) => async () => {
    const { machine, executable, materials } = each;
    const name = `offsetof-${version}-linux-${machine.arch}`;
    await lay(
      folder,
      [
        { path: name, mode: 0o755, content: { file: executable } },
        { path: `${name}.cdx.json`, mode: 0o644, content: { bytes: materials } },
      ],
      release,
    );
    await lay(
      below(name),
      (await archived(each)).map((entry) => ({ ...entry, path: `${name}/${entry.path}` })),
      release,
    );
    await writeArchives(below(name), name, join(folder, name), release);
    const deb = `offsetof_${version}_${machine.debian}.deb`;
    await writeDeb(each, release, below(deb), join(folder, deb));
    const rpm = `offsetof-${version}-1.${machine.rpm}.rpm`;
    await writeRpm(each, release, below(rpm), join(folder, rpm));
  });
  const image = `offsetof-${version}-oci.tar`;
  await Promise.all([
    ...perProduct.map((make) => make()),
    writeImage(products, release, below(image), join(folder, image)),
  ]);
  await writeSums(folder);
  await run(["chmod", "-R", "u=rwX,go=rX", folder]);
}

/** Writes SHA256SUMS of the files below a folder, for sha256sum --check. */
export async function writeSums(folder: string): Promise<void> {
  const lines = [...(await sumsOf(folder))].map(([path, sum]) => `${sum}  ${path}\n`);
  await Bun.write(join(folder, "SHA256SUMS"), lines.join(""));
}

/** SHA-256 of each file below a folder, by path, but SHA256SUMS'. */
export async function sumsOf(folder: string): Promise<Map<string, string>> {
  const entries = await readdir(folder, { recursive: true, withFileTypes: true });
  const paths = entries
    .filter((entry) => entry.isFile())
    .map((entry) => join(entry.parentPath, entry.name).slice(folder.length + 1))
    .filter((path) => path !== "SHA256SUMS")
    .sort();
  const { stdout } = await run(["sha256sum", "--", ...paths], { cwd: folder });
  return new Map(
    stdout
      .trimEnd()
      .split("\n")
      .map((line) => [line.slice(66), line.slice(0, 64)]),
  );
}
