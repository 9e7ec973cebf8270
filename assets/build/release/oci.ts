import { mkdir, rename, rm } from "node:fs/promises";
import { join } from "node:path";
import { run } from "../run.ts";
import { writeTar } from "./archive.ts";
import { type Entry, lay, notices } from "./content.ts";
import { environment, type Product, type Release } from "./machines.ts";

/** A blob of an image as others refer to it (OCI image specification, descriptor). */
interface Descriptor {
  readonly mediaType: string;
  readonly digest: string;
  readonly size: number;
}

const mediaType = (kind: string): string => `application/vnd.oci.image.${kind}`;

/**
 * Writes an OCI image layout as a tar: an index with an image FROM scratch for each product. An image has one program
 * and, in a layer of its own, the notices that go with it.
 *
 * Written here, for of Debian's tools umoci makes no index, and buildah needs a store and puts its own times in it.
 * Beside it lies the list that `docker load` reads where Docker has no store of containerd's; it knows no index, so
 * there each architecture has a tag of its own.
 *
 * @param scratch an empty folder, removed afterwards
 */
export async function writeImage(
  products: readonly Product[],
  release: Release,
  scratch: string,
  to: string,
): Promise<void> {
  const layout = join(scratch, "layout");
  const blobs = join(layout, "blobs/sha256");
  await mkdir(blobs, { recursive: true });
  const created = new Date(release.date * 1000).toISOString().replace(".000Z", "Z");

  /** A tar of some files, packed, and the digest of it before it was: what a configuration names. */
  const layer = async (name: string, entries: readonly Entry[]) => {
    const folder = join(scratch, name);
    await lay(folder, entries, release);
    const tar = join(scratch, `${name}.tar`);
    const names = [...new Set(entries.map(({ path }) => path.split("/")[0] ?? ""))].sort();
    await writeTar(folder, names, tar);
    const diff = `sha256:${await sha256(tar)}`;
    await run(["gzip", release.effort === "best" ? "-9n" : "-1n", tar], { env: environment(release) });
    return { diff, descriptor: await blob(mediaType("layer.v1.tar+gzip"), `${tar}.gz`), name };
  };

  /** Moves a file to where its digest says. */
  const blob = async (type: string, path: string): Promise<Descriptor> => {
    const digest = await sha256(path);
    const { size } = Bun.file(path);
    await rename(path, join(blobs, digest));
    return { mediaType: type, digest: `sha256:${digest}`, size };
  };

  const json = async (type: string, value: unknown): Promise<Descriptor> => {
    const path = join(scratch, "json");
    await Bun.write(path, JSON.stringify(value));
    return blob(type, path);
  };

  const image = async ({ machine, executable }: Product) => {
    const program: Entry = { path: "offsetof", mode: 0o755, content: { file: executable } };
    const layers = [
      await layer(`program-${machine.arch}`, [program]),
      await layer(`notices-${machine.arch}`, await notices("usr/share/doc/offsetof/")),
    ];
    const platform = { architecture: machine.oci, os: "linux" };
    const config = await json(mediaType("config.v1+json"), {
      created,
      ...platform,
      config: { Entrypoint: ["/offsetof"], WorkingDir: "/" },
      rootfs: { type: "layers", diff_ids: layers.map(({ diff }) => diff) },
      history: layers.map(({ name }) => ({ created, created_by: `offsetof ${release.version}: ${name}` })),
    });
    const manifest = await json(mediaType("manifest.v1+json"), {
      schemaVersion: 2,
      mediaType: mediaType("manifest.v1+json"),
      config,
      layers: layers.map(({ descriptor }) => descriptor),
    });
    const docker = {
      Config: pathOf(config),
      RepoTags: [`offsetof:${release.version}-${machine.oci}`],
      Layers: layers.map(({ descriptor }) => pathOf(descriptor)),
    };
    return { descriptor: { ...manifest, platform }, docker };
  };

  const images = [];
  for (const product of products) images.push(await image(product));
  const index = await json(mediaType("index.v1+json"), {
    schemaVersion: 2,
    mediaType: mediaType("index.v1+json"),
    manifests: images.map(({ descriptor }) => descriptor),
    annotations: {
      "org.opencontainers.image.title": "offsetof",
      "org.opencontainers.image.description": release.description,
      "org.opencontainers.image.version": release.version,
      "org.opencontainers.image.created": created,
      "org.opencontainers.image.licenses": "Apache-2.0",
    },
  });
  const annotations = {
    "io.containerd.image.name": `docker.io/library/offsetof:${release.version}`,
    "org.opencontainers.image.ref.name": release.version,
  };
  await Bun.write(join(layout, "oci-layout"), JSON.stringify({ imageLayoutVersion: "1.0.0" }));
  await Bun.write(
    join(layout, "index.json"),
    JSON.stringify({ schemaVersion: 2, manifests: [{ ...index, annotations }] }),
  );
  await Bun.write(join(layout, "manifest.json"), JSON.stringify(images.map(({ docker }) => docker)));
  await run(["chmod", "-R", "u=rwX,go=rX", layout]);
  await run(["find", layout, "-exec", "touch", "--date", `@${release.date}`, "{}", "+"]);
  await writeTar(layout, ["oci-layout", "index.json", "manifest.json", "blobs"], to);
  await rm(scratch, { recursive: true });
}

/** Where a blob lies in the layout. */
const pathOf = ({ digest }: Descriptor): string => `blobs/${digest.replace(":", "/")}`;

const sha256 = async (path: string): Promise<string> => {
  const hasher = new Bun.CryptoHasher("sha256");
  for await (const chunk of Bun.file(path).stream()) hasher.update(chunk);
  return hasher.digest("hex");
};
