import {
  existsSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  renameSync,
  writeFileSync,
} from "node:fs";
import { homedir } from "node:os";
import { join } from "node:path";

/**
 * Debian packages of other suites and architectures, fetched through an apt root of their own and unpacked outside the
 * checkout: nothing of them is installed. The mirror's address is the machine's own.
 */
const cache = join(process.env.XDG_CACHE_HOME ?? join(homedir(), ".cache"), "offsetof", "tls-packages");

export interface Unpacked {
  /** Folder that holds the package's files as a root. */
  readonly root: string;
  /** Version of the package, e.g. `3.0.22-1~deb12u2`. */
  readonly version: string;
}

function run(command: string[], cwd?: string): string {
  const { exitCode, stdout, stderr } = Bun.spawnSync(command, cwd === undefined ? {} : { cwd });
  if (exitCode !== 0) throw new Error(`${command.join(" ")}: ${stderr.toString().trim()}`);
  return stdout.toString();
}

function mirror(suite: string): string | undefined {
  const targets = run(["apt-get", "indextargets", "--format", "$(IDENTIFIER) $(RELEASE) $(REPO_URI)"]);
  return new RegExp(`^Packages ${suite} (\\S+)$`, "m").exec(targets)?.[1];
}

/** The options of a private apt root for a suite, its lists fetched. */
function aptRoot(suite: string, arch: string): string[] {
  const folder = join(cache, "apt", `${suite}-${arch}`);
  const codename = /^VERSION_CODENAME=(\S+)$/m.exec(readFileSync("/etc/os-release", "utf8"))?.[1] ?? "";
  const line = (uri: string | undefined, name: string) =>
    uri === undefined
      ? []
      : [`deb [signed-by=/usr/share/keyrings/debian-archive-keyring.gpg] ${uri} ${name} main`];
  mkdirSync(join(folder, "lists/partial"), { recursive: true });
  mkdirSync(join(folder, "archives/partial"), { recursive: true });
  writeFileSync(join(folder, "status"), "");
  writeFileSync(
    join(folder, "sources.list"),
    [...line(mirror(codename), suite), ...line(mirror(`${codename}-security`), `${suite}-security`), ""].join(
      "\n",
    ),
  );
  const options = [
    `Dir::State::lists=${folder}/lists`,
    `Dir::State::status=${folder}/status`,
    `Dir::Cache=${folder}`,
    `Dir::Etc::sourcelist=${folder}/sources.list`,
    "Dir::Etc::sourceparts=-",
    "Dir::Etc::preferencesparts=-",
    `APT::Architecture=${arch}`,
    `APT::Architectures=${arch}`,
    // apt's own user may not enter a private folder.
    "APT::Sandbox::User=root",
    "Acquire::Languages=none",
  ].flatMap((option) => ["-o", option]);
  if (!readdirSync(join(folder, "lists")).some((name) => name.endsWith("Packages"))) {
    run(["apt-get", ...options, "-qq", "update"]);
  }
  return options;
}

/** A package of a suite, unpacked; fetched once and kept. */
export function debianPackage(suite: string, arch: string, name: string): Unpacked {
  const folder = join(cache, `${suite}-${arch}`, name);
  const versionFile = join(folder, "version");
  if (!existsSync(versionFile)) {
    const options = aptRoot(suite, arch);
    mkdirSync(join(folder, ".."), { recursive: true });
    const work = mkdtempSync(join(folder, "..", ".new-"));
    const versions = run(["apt-cache", ...options, "madison", name])
      .split("\n")
      .flatMap((row) => row.split("|")[1]?.trim() ?? []);
    // A mirror may lack the newest file of an old suite while its lists name it: then the one before serves.
    const version = versions.find((one) => {
      const got = Bun.spawnSync(["apt-get", ...options, "-qq", "download", `${name}=${one}`], { cwd: work });
      return got.exitCode === 0;
    });
    const file = readdirSync(work).find((one) => one.endsWith(".deb"));
    if (version === undefined || file === undefined)
      throw new Error(`${suite} ${arch}: ${name} cannot be fetched`);
    run(["dpkg-deb", "--extract", join(work, file), join(work, "root")]);
    writeFileSync(join(work, "version"), version);
    renameSync(work, folder);
  }
  return { root: join(folder, "root"), version: readFileSync(versionFile, "utf8") };
}

/** Every library the tests read: OpenSSL 1.1.1 to 3.5, BoringSSL, two architectures. */
export const samples = [
  { suite: "bullseye", arch: "amd64", name: "libssl1.1" },
  { suite: "bullseye", arch: "arm64", name: "libssl1.1" },
  { suite: "bookworm", arch: "amd64", name: "libssl3" },
  { suite: "bookworm", arch: "arm64", name: "libssl3" },
  { suite: "trixie", arch: "amd64", name: "libssl3t64" },
  { suite: "trixie", arch: "arm64", name: "libssl3t64" },
  { suite: "bookworm", arch: "amd64", name: "android-libboringssl" },
  { suite: "bookworm", arch: "arm64", name: "android-libboringssl" },
] as const;

/** Minutes are for the first run alone, which fetches. Milliseconds. */
export const fetchTimeout = 600_000;
