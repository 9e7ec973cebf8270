import { mkdir, rm } from "node:fs/promises";
import { join } from "node:path";
import { CachedFolder, cacheFolder } from "./cache.ts";
import { attempt, run } from "./run.ts";

export type Architecture = "amd64" | "arm64";

/** A Debian package unpacked into the cache. */
export interface LoadedPackage {
  /** E.g. `3.0.22-1~deb12u2`. */
  readonly version: string;
  /** The folder its files lie under as under a root. */
  readonly root: string;
  /** For reading them with their sums checked; paths begin with `root/`. */
  readonly cached: CachedFolder;
}

/**
 * A package of a suite, fetched on first use and kept in the cache. Nothing is installed, and what the package
 * depends on does not come along.
 */
export async function loadPackage(
  suite: string,
  name: string,
  architecture: Architecture = "amd64",
): Promise<LoadedPackage> {
  const cached = await CachedFolder.open(`packages/${suite}-${architecture}/${name}`, async (folder) => {
    const version = await (await openSuite(suite, architecture)).unpack(name, join(folder, "root"));
    await Bun.write(join(folder, "version"), version);
  });
  const version = new TextDecoder().decode(await cached.read("version"));
  return { version, root: join(cached.folder, "root"), cached };
}

/** A Debian source package of one version, and a suite that has it. */
export interface SourcePackage {
  readonly suite: string;
  readonly name: string;
  readonly version: string;
}

/** The files of a source package, in the cache, where they stay after the suite has gone on to another version. */
export const fetchSource = ({ suite, name, version }: SourcePackage): Promise<CachedFolder> =>
  CachedFolder.open(`sources/${name}_${version}`, async (downloads) => {
    await (await openSuite(suite, "source")).download(name, version, downloads);
  });

/** Unpacks a source package into a folder of its own below `folder`, with Debian's patches applied. */
export async function downloadSource(source: SourcePackage, folder: string): Promise<void> {
  const cached = await fetchSource(source);
  const files = (await cached.entries(".")).map(({ path }) => path).filter((path) => path !== "./SHA256SUMS");
  // Reading checks each file against the sum taken when apt had checked it.
  for (const path of files) await cached.read(path.slice("./".length));
  const description = files.find((path) => path.endsWith(".dsc"));
  if (description === undefined) throw new Error(`${cached.folder} holds no .dsc file: delete it`);
  await mkdir(folder, { recursive: true });
  await run(["dpkg-source", "--no-check", "--extract", join(cached.folder, description)], { cwd: folder });
}

/** A Debian suite read through an apt root of its own, so that nothing of it can reach the running system. */
export interface Suite {
  /** Names in the Depends of the newest version of a package, without versions and alternatives. */
  depends(name: string): Promise<string[]>;
  /** Downloads a package into `folder` (apt checks it against the signed lists), tells its version. */
  fetch(name: string, folder: string): Promise<string>;
  /** The same, unpacked into `folder`. */
  unpack(name: string, folder: string): Promise<string>;
  /** The versions of a source package that the lists name; a mirror may lack some. Needs the `source` index. */
  sourceVersions(name: string): Promise<string[]>;
  /** Downloads the files of a source package into `folder`; apt checks them likewise. Needs the `source` index. */
  download(name: string, version: string, folder: string): Promise<void>;
}

/** What of a suite is read: the binary packages of an architecture, or the source packages. */
export type Index = Architecture | "source";

const suites = new Map<string, Promise<Suite>>();

/** The suite and, where there is one, its security suite, with lists fetched once a process. */
export function openSuite(name: string, index: Index = "amd64"): Promise<Suite> {
  const key = `${name}-${index}`;
  const opened = suites.get(key) ?? openRoot(name, index, join(cacheFolder(), "apt", key));
  suites.set(key, opened);
  return opened;
}

async function openRoot(suite: string, index: Index, folder: string): Promise<Suite> {
  await mkdir(join(folder, "lists/partial"), { recursive: true });
  await mkdir(join(folder, "archives/partial"), { recursive: true });
  await Bun.write(join(folder, "status"), "");
  await Bun.write(join(folder, "sources.list"), (await sourceLines(suite, index)).join("\n"));
  const architecture = index === "source" ? "amd64" : index;
  const options = [
    `Dir::State::lists=${folder}/lists`,
    `Dir::State::status=${folder}/status`,
    `Dir::Cache=${folder}`,
    `Dir::Etc::sourcelist=${folder}/sources.list`,
    "Dir::Etc::sourceparts=-",
    "Dir::Etc::preferencesparts=-",
    `APT::Architecture=${architecture}`,
    `APT::Architectures=${architecture}`,
    // The download user of apt may not enter a private folder.
    "APT::Sandbox::User=root",
    "Acquire::Languages=none",
    "Acquire::Retries=3",
  ].flatMap((option) => ["-o", option]);
  // apt gives up when another process works in the same root, so wait for it.
  const apt: Apt = (tool, ...args) => ["flock", join(folder, "lock"), tool, ...options, "-qq", ...args];
  const { status, stderr } = await attempt(apt("apt-get", "update"));
  if (status !== 0) throw new Error(`${suite}: the package lists cannot be fetched: ${stderr}`);
  return {
    depends: (name) => dependsOf(apt, name),
    fetch: (name, into) => fetchPackage(apt, suite, name, into),
    unpack: (name, into) => unpack(apt, suite, name, into),
    sourceVersions: (name) => versionsOf(apt, name),
    download: (name, version, into) => download(apt, suite, `${name}=${version}`, into),
  };
}

/** The command line of one of apt's tools in the root. */
type Apt = (tool: "apt-get" | "apt-cache", ...args: string[]) => string[];

async function dependsOf(apt: Apt, name: string): Promise<string[]> {
  const { stdout } = await run(apt("apt-cache", "show", "--no-all-versions", name));
  const depends = /^Depends: (.*)$/m.exec(stdout)?.[1] ?? "";
  return depends.split(/[,|]/).flatMap((text) => text.trim().split(/[ :(]/)[0] || []);
}

async function versionsOf(apt: Apt, name: string): Promise<string[]> {
  const { stdout } = await run(apt("apt-cache", "madison", name));
  return stdout.split("\n").flatMap((row) => row.split("|")[1]?.trim() ?? []);
}

async function fetchPackage(apt: Apt, suite: string, name: string, folder: string): Promise<string> {
  const versions = await versionsOf(apt, name);
  await mkdir(folder, { recursive: true });
  let refusal = "no such package";
  // A mirror may lack the newest file of an old suite while its lists name it: then the one before serves.
  for (const version of versions) {
    const fetched = await attempt(apt("apt-get", "download", `${name}=${version}`), { cwd: folder });
    refusal = fetched.stderr;
    if (fetched.status === 0) return version;
  }
  throw new Error(`${suite}: ${name} cannot be fetched: ${refusal}`);
}

async function unpack(apt: Apt, suite: string, name: string, folder: string): Promise<string> {
  const downloads = join(folder, "..", "downloads");
  const version = await fetchPackage(apt, suite, name, downloads);
  await mkdir(folder, { recursive: true });
  await run(["sh", "-c", 'dpkg-deb --extract *.deb "$0"', folder], { cwd: downloads });
  await rm(downloads, { recursive: true });
  return version;
}

async function download(apt: Apt, suite: string, pinned: string, into: string): Promise<void> {
  const { status, stderr } = await attempt(apt("apt-get", "source", "--download-only", pinned), {
    cwd: into,
  });
  if (status !== 0) throw new Error(`${suite}: source ${pinned} cannot be fetched, pin another: ${stderr}`);
}

/** Suites without a security suite of their own: the moving ones, and backports. */
const WITHOUT_SECURITY = /^(sid|experimental|.*-backports)$/;

/** The mirror's address is the one in the machine's own sources. */
async function sourceLines(suite: string, index: Index): Promise<string[]> {
  const release = await Bun.file("/etc/os-release").text();
  const codename = /^VERSION_CODENAME=(\S+)$/m.exec(release)?.[1] ?? "";
  // Without --no-release-info apt tells nothing as long as no lists are fetched.
  const format = ["--no-release-info", "--format", "$(IDENTIFIER) $(RELEASE) $(REPO_URI)"];
  const targets = (await run(["apt-get", "indextargets", ...format])).stdout;
  const line = (ours: string, theirs: string) => {
    const mirror = new RegExp(`^Packages ${ours} (\\S+)$`, "m").exec(targets)?.[1];
    if (mirror === undefined) throw new Error(`The machine's apt sources name no mirror of ${ours}`);
    return `${index === "source" ? "deb-src" : "deb"} [signed-by=/usr/share/keyrings/debian-archive-keyring.gpg] ${mirror} ${theirs} main`;
  };
  const archive = line(codename, suite);
  if (WITHOUT_SECURITY.test(suite)) return [archive, ""];
  return [archive, line(`${codename}-security`, `${suite}-security`), ""];
}
