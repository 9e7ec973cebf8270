import { mkdir, rm, utimes } from "node:fs/promises";
import { join } from "node:path";
import { repository } from "../paths.ts";
import { run } from "../run.ts";
import { DESCRIPTION, DOCUMENTS, type Entry, installed, lay, zipped } from "./content.ts";
import { environment, type Product, type Release } from "./machines.ts";

/** This project has no public address; .invalid (RFC 2606) is nobody's. */
export const MAINTAINER = "offsetof maintainers <maintainers@offsetof.invalid>";

/** What lintian says of any executable of Bun's, and why it stays so. */
const overrides: readonly (readonly [tag: string, reason: string])[] = [
  ["unstripped-binary-or-object *", "strip takes away what Bun appended: the program is lost"],
  ["undeclared-elf-prerequisites *", "it brings the C library along for where there is none"],
  ["statically-linked-binary *", "it is to run on any Linux"],
  ["hardening-no-pie *", "Bun's runtime is linked so upstream"],
  ["hardening-no-relro *", "likewise"],
  ["embedded-library *", "Bun's runtime has it inside: see the copyright file"],
];

/**
 * Writes a Debian package by dpkg-deb. It depends on nothing and has no script: what is unpacked is all it does.
 *
 * @param scratch an empty folder, removed afterwards
 */
export async function writeDeb(
  product: Product,
  release: Release,
  scratch: string,
  to: string,
): Promise<void> {
  const root = join(scratch, "root");
  const entries = [...(await installed(product, "debian")), ...(await debianFiles(release))];
  await lay(root, entries, release);
  await mkdir(join(root, "DEBIAN"));
  await Bun.write(join(root, "DEBIAN/control"), await control(product, release, root));
  const paths = entries.map(({ path }) => path).sort();
  await Bun.write(join(root, "DEBIAN/md5sums"), (await run(["md5sum", ...paths], { cwd: root })).stdout);
  for (const name of ["control", "md5sums", ""])
    await utimes(join(root, "DEBIAN", name), release.date, release.date);
  await run(["chmod", "-R", "u=rwX,go=rX", join(root, "DEBIAN")]);
  await utimes(root, release.date, release.date);
  // xz, for dpkg of Debian 11 knows no zstd. A fixed number of threads: it is seen in the bytes.
  const level = release.effort === "best" ? "-z9" : "-z0";
  const build = ["dpkg-deb", "--root-owner-group", "-Zxz", level, "--threads-max=2", "--build", root, to];
  await run(build, { env: environment(release) });
  await rm(scratch, { recursive: true });
}

/** Files that Debian's policy asks for. */
const debianFiles = async (release: Release): Promise<Entry[]> => [
  { path: `${DOCUMENTS}/copyright`, mode: 0o644, content: { bytes: await copyright() } },
  { path: `${DOCUMENTS}/changelog.gz`, mode: 0o644, content: { bytes: zipped(changelog(release)) } },
  { path: "usr/share/lintian/overrides/offsetof", mode: 0o644, content: { bytes: overridesFile } },
];

const overridesFile = overrides.map(([tag, reason]) => `# ${reason}\noffsetof: ${tag}\n`).join("");

const copyright = async (): Promise<string> => `offsetof: Copyright its authors, Apache License 2.0.

The texts of the licences named here are in /usr/share/common-licenses: Apache-2.0, LGPL-3, GPL-3.

${await Bun.file(join(repository, "THIRD_PARTY.md")).text()}`;

const changelog = ({ version, date }: Release): string =>
  `offsetof (${version}) unstable; urgency=medium\n\n  * What changed is told in CHANGELOG.md.\n\n -- ${MAINTAINER}  ${mailDate(date)}\n`;

/** E.g. `Thu, 26 Nov 2026 03:45:44 +0000`. */
const mailDate = (date: number): string => new Date(date * 1000).toUTCString().replace("GMT", "+0000");

async function control({ machine }: Product, release: Release, root: string): Promise<string> {
  const { stdout } = await run(["du", "--summarize", "--apparent-size", "--block-size=1024", root]);
  const fields = {
    Package: "offsetof",
    Version: release.version,
    Architecture: machine.debian,
    Maintainer: MAINTAINER,
    "Installed-Size": stdout.split("\t")[0] ?? "",
    Section: "admin",
    Priority: "optional",
    Description: `struct offsets of the running kernel and of TLS libraries\n ${DESCRIPTION.join("\n ")}`,
  };
  return Object.entries(fields)
    .map(([key, value]) => `${key}: ${value}\n`)
    .join("");
}
