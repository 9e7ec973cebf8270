import { readFileSync } from "node:fs";
import { basename, join } from "node:path";
import * as v from "valibot";
import { CachedFolder } from "../../assets/build/cache.ts";
import { fetchSource } from "../../assets/build/debian.ts";
import type { KnownLibrary } from "../../src/tls/layouts/layouts.ts";
import { type Build, buildOf, packageOf, truthFile } from "./make.ts";

const schema = v.strictObject({ package: v.string(), figures: v.record(v.string(), v.number()) });
type TruthFile = v.InferOutput<typeof schema>;

/** Bytes by `type.member`, the same for x86-64 and arm64. `sizeof_connection`: of the struct behind an `SSL *`. */
export type Truth = Readonly<Record<string, number>>;

/**
 * What the headers of a real build say: made by make.ts.
 *
 * @param name of the file beside this one, such as `openssl-3.6.3`
 */
export const truthOf = (name: string): Truth => withPublishedNames(readTruth(name));

/**
 * What the headers of a Debian package say, whichever version of it the suite has by now. A version that has no file here
 * is measured on first use, which takes a minute, and kept in the cache. Where the mirror has its binary alone, that is
 * the file of another version of its series: structs rarely change within one, and a test fails where they did.
 *
 * @param version of the binary package, such as `3.5.9-1~deb13u1`
 */
export async function truthOfPackage(suite: string, library: KnownLibrary, version: string): Promise<Truth> {
  // A rebuild (+b1) is of the same source.
  const build = buildOf(suite, library, version.replace(/\+b\d+$/, ""));
  const own = files().find((one) => one.package === packageOf(build));
  return withPublishedNames(own ?? (await cachedTruth(build)));
}

async function cachedTruth(build: Build): Promise<TruthFile> {
  const { headers, members, connection } = build;
  const asked = Bun.hash(JSON.stringify({ headers, members, connection })).toString(16);
  const name = `truths/${packageOf(build).replace(" ", "_")}-${asked}`;
  const cached = await CachedFolder.open(name, async (folder) => {
    const hasSource = await fetchSource(build.source).then(Boolean, () => false);
    const truth = hasSource ? await truthFile(build) : truthOfSeries(build);
    await Bun.write(join(folder, "truth.json"), JSON.stringify(truth));
  });
  return v.parse(schema, JSON.parse(new TextDecoder().decode(await cached.read("truth.json"))));
}

function truthOfSeries(build: Build): TruthFile {
  // e.g. openssl 3.5.9, or openssl 3.5
  const releaseOf = (name: string): string => name.replace(/-[^-]*$/, "");
  const seriesOf = (name: string): string => name.split(".").slice(0, 2).join(".");
  const found = [releaseOf, seriesOf]
    .map((akin) => files().find((one) => akin(one.package) === akin(packageOf(build))))
    .find((one) => one !== undefined);
  if (found === undefined)
    throw new Error(
      `${packageOf(build)}: no source can be fetched, and no file in test/truth is of its series`,
    );
  return found;
}

const readTruth = (name: string): TruthFile =>
  v.parse(schema, JSON.parse(readFileSync(join(import.meta.dir, `${name}.json`), "utf8")));

const files = (): readonly TruthFile[] =>
  [...new Bun.Glob("*.json").scanSync(import.meta.dir)]
    .sort()
    .map((name) => readTruth(basename(name, ".json")));

/** Members that the published tables call as a server sees them. */
const publishedNames = {
  "bssl::SSL3_STATE.write_traffic_secret": "bssl::SSL3_STATE.server_traffic_secret_0",
  "bssl::SSL3_STATE.read_traffic_secret": "bssl::SSL3_STATE.client_traffic_secret_0",
};

function withPublishedNames({ figures }: TruthFile): Truth {
  const published = Object.entries(publishedNames).flatMap(([own, name]) => {
    const figure = figures[own];
    return figure === undefined ? [] : [[name, figure] as const];
  });
  return { ...figures, ...Object.fromEntries(published) };
}
