/**
 * bun run release [--check] [--fast]: writes dist/release/, what a release publishes.
 *
 * With --check it is made again aside, says which files differ from those in dist/release, and fails if any do.
 * --fast compresses little: for tests of it. The tools are Debian's (apt-get install rpm xz-utils zstd); other versions
 * of them may give other bytes.
 */

import { mkdir, mkdtemp, rename, rm, stat } from "node:fs/promises";
import { join } from "node:path";
import { optionsOf } from "../options.ts";
import { repository } from "../paths.ts";
import { currentRelease, sumsOf, writeRelease } from "./release.ts";

const { values } = optionsOf({ options: { check: { type: "boolean" }, fast: { type: "boolean" } } });
const missing = ["dpkg-deb", "rpmbuild", "tar", "gzip", "xz", "zstd"].filter(
  (tool) => Bun.which(tool) === null,
);
if (missing.length > 0) {
  console.error(`release: ${missing.join(", ")} not found: apt-get install dpkg rpm tar gzip xz-utils zstd`);
  process.exit(1);
}

const published = join(repository, "dist/release");
if (values.check && !(await stat(published).catch(() => undefined))?.isDirectory()) {
  console.error(
    "release: dist/release is not there to be compared: make it by bun run release, or put files there",
  );
  process.exit(1);
}
await mkdir(join(repository, "dist"), { recursive: true });
// On the same file system, and of another name each time: no path may show in the bytes.
const scratch = await mkdtemp(join(repository, "dist/.release-"));
try {
  const made = join(scratch, "release");
  await writeRelease(made, await currentRelease(values.fast ? "fast" : "best"), scratch);
  if (values.check) await compare(made);
  else {
    await rm(published, { recursive: true, force: true });
    await rename(made, published);
    console.error(`release: dist/release, ${(await sumsOf(published)).size} files`);
  }
} finally {
  await rm(scratch, { recursive: true });
}

/** Says which files are not the same in both. */
async function compare(made: string): Promise<void> {
  const [before, now] = await Promise.all([sumsOf(published), sumsOf(made)]);
  const paths = [...new Set([...before.keys(), ...now.keys()])].sort();
  const differing = paths.filter((path) => before.get(path) !== now.get(path));
  for (const path of differing) console.error(`release: dist/release/${path} is not what this tree makes`);
  console.error(
    `release: ${paths.length - differing.length} of ${paths.length} files are byte for byte the same`,
  );
  process.exitCode = differing.length === 0 ? 0 : 1;
}
