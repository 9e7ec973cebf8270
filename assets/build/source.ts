/** bun assets/build/source.ts SUITE NAME [VERSION DIR]: the versions of a Debian source package, or one of them unpacked below DIR. */
import { resolve } from "node:path";
import { downloadSource, openSuite } from "./debian.ts";

const [suite, name, version, folder] = process.argv.slice(2);
if (suite === undefined || name === undefined || (version !== undefined && folder === undefined)) {
  console.error("usage: bun assets/build/source.ts SUITE NAME [VERSION DIR]");
  process.exitCode = 2;
} else if (version === undefined || folder === undefined) {
  console.log((await (await openSuite(suite, "source")).sourceVersions(name)).join("\n"));
} else {
  await downloadSource({ suite, name, version }, resolve(folder));
}
