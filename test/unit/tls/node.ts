import { mkdir, rm } from "node:fs/promises";
import { join } from "node:path";
import { CachedFolder } from "../../../assets/build/cache.ts";
import { run } from "../../../assets/build/run.ts";

/** A Node.js executable with OpenSSL inside, as npm publishes it. */
export interface NodeSample {
  readonly arch: "x64" | "arm64";
  readonly version: string;
  /** Of the package, as the registry tells it. */
  readonly integrity: string;
}

const sha512 = (text: string): string => `sha512-${text}`;

/** Node.js 10 to 22: OpenSSL 1.1.1, 1.1.1+quic, 3.0+quic and 3.x inside. npm has no 12 for arm64. */
export const nodeSamples: readonly NodeSample[] = [
  [
    "x64",
    "10.24.1",
    "YMreId5u9hd3zWHqRyDkXFLdw46BWAxy9+mJNA6m9Bh2X6SN5zh3UrNh+vrbMF8Ci9Vsqv4DYFNe+PpGy0dHGQ==",
  ],
  [
    "x64",
    "12.22.12",
    "Js5l9fOJQHPnRXFTxYWSE2Kg7gZ7Wk2jZoNIQvRIaxu4Xq5G9Jphzzjc78fojANnRIsT4VoUyZiycxtnK1yM4w==",
  ],
  [
    "x64",
    "16.20.2",
    "oxOhUQeRI8VP2S933KzppWoQTXE/bhs3rskxrAXQA0xfIoy+WqVx47oe6upUsCqORfvAHcbdf9k+1iFyZnceqQ==",
  ],
  // OpenSSL 3.0.12, of which two builds have two layouts.
  [
    "x64",
    "18.19.0",
    "Bfpa4442AN+AaZ5N1DPqeujwpmDSRFUyHqC/Es7K5N6+zf14rFrjHFZFtU0QZLflzMYNpwFBPldYKaKDU1DVHw==",
  ],
  [
    "x64",
    "18.20.8",
    "JWUTwZ9vMOjZXMtiBc74OZn12DXb4skKfY4Nlyc17Ss8BTaxjwkXAw6xZb0Ck5afUYU/neBbrHjo9O3baF34ww==",
  ],
  [
    "x64",
    "20.20.2",
    "PeHQM8wAdmHtZA1mBocygZxs5LiUWtsJezQTkBd0iY987KpGrD1O2tVEydvMZiuXceRanxt7rjTnDEBwOPujoQ==",
  ],
  [
    "x64",
    "22.23.3",
    "qHnz5tFsHoj/WM+uRENVjWONi5hVvmwrgq8A4V76KpuVNAc4+jwK8x4gwbobE9BtHNg/AKR2583eYorLF/c7ng==",
  ],
  [
    "arm64",
    "10.18.1",
    "AS0fmBu7uUv5JMBddklv/aD0et+Vsv47QfP+5feq6oji0JnVKuL5L9hC2/BWOuC6skUK/Z6qFXIXMlBzWUF0eQ==",
  ],
  [
    "arm64",
    "16.20.2",
    "MyXYLwR55kL8fh4+T/pnLFltiys/aQ0QYtT5PZuiiQBksWRCP28LWRACZhFHGPG+jlSxzZDKwRFAjdNY3DaB0Q==",
  ],
  [
    "arm64",
    "18.20.8",
    "xTMJYtLdLjIimh8zRpgUDFsNknLP72AT/QWEQmeyDOM1/Gqj/GZn/MlbA+zWSjSMBxQscYvgFpq3qERMEcFEUA==",
  ],
  [
    "arm64",
    "20.20.2",
    "LCXJnNTFiyGuYBw2gZSI5OBFMbkjAPt8sqD/NKrWoE2QmDgSubTqFng6GaNJ9EJ8HpxBMGcWWpbbcs4Vo+CnGg==",
  ],
  [
    "arm64",
    "22.23.3",
    "l3DAHZreylo+p9QXDtsOrjG2JXJqVzYXnAGmIQNOUNARcMppTO2cmewVQP+36tjJnSE+dzpMNtgW+c3oiDvXtA==",
  ],
].map(([arch, version = "", sum = ""]) => ({
  arch: arch === "arm64" ? "arm64" : "x64",
  version,
  integrity: sha512(sum),
}));

/** The executable's path in the cache. Fetched on first use, some 30 MB; its code is never run. */
export const loadNode = async ({ arch, version, integrity }: NodeSample): Promise<string> =>
  join(await loadNpm({ name: `node-linux-${arch}`, version, integrity, part: "bin/node" }), "bin/node");

/** A part of a package as npm publishes it. */
interface NpmSample {
  readonly name: string;
  readonly version: string;
  readonly integrity: string;
  /** A path in the package; what lies under it comes along. */
  readonly part: string;
}

/** The folder of the package in the cache, with that part in it alone. Its integrity is checked, no script of it is run. */
export async function loadNpm({ name, version, integrity, part }: NpmSample): Promise<string> {
  const file = name.replace("@", "").replace("/", "-");
  const cached = await CachedFolder.open(`packages/npm/${file}-${version}`, async (folder) => {
    const downloads = join(folder, "downloads");
    await mkdir(downloads);
    const pinned = `${name}@${version}`;
    await run(["npm", "pack", pinned, "--ignore-scripts", "--pack-destination", downloads], { cwd: folder });
    const archive = join(downloads, `${file}-${version}.tgz`);
    const sum = new Bun.CryptoHasher("sha512").update(await Bun.file(archive).bytes()).digest("base64");
    if (sha512(sum) !== integrity) throw new Error(`${pinned} is not the package that was pinned`);
    await run(["tar", "--extract", "--file", archive, "--strip-components=1", `package/${part}`], {
      cwd: folder,
    });
    await rm(downloads, { recursive: true });
  });
  return cached.folder;
}
