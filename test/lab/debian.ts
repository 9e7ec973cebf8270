import { mkdir, rm } from "node:fs/promises";
import { join } from "node:path";
import { run } from "./run.ts";

/** One binary package as the archive holds it. */
export interface ArchivePackage {
  readonly name: string;
  readonly version: string;
  /** Names in its Depends, without versions and alternatives. */
  readonly depends: readonly string[];
}

/**
 * A Debian suite read through an apt root of its own, so that nothing of it can reach the running system.
 * The mirror's address is taken from the machine's own sources.
 */
export class Suite {
  readonly #options: readonly string[];

  private constructor(options: readonly string[]) {
    this.#options = options;
  }

  /** Fetches the package lists of a suite (and of its security suite, where there is one) into `folder`. */
  static async open(suite: string, folder: string): Promise<Suite> {
    await mkdir(join(folder, "lists/partial"), { recursive: true });
    await mkdir(join(folder, "archives/partial"), { recursive: true });
    await Bun.write(join(folder, "status"), "");
    await Bun.write(join(folder, "sources.list"), (await sourceLines(suite)).join("\n"));
    const options = {
      "Dir::State::lists": join(folder, "lists"),
      "Dir::State::status": join(folder, "status"),
      "Dir::Cache": folder,
      "Dir::Etc::sourcelist": join(folder, "sources.list"),
      "Dir::Etc::sourceparts": "-",
      "Dir::Etc::preferencesparts": "-",
      // The download user of apt may not enter a private folder.
      "APT::Sandbox::User": "root",
      "Acquire::Languages": "none",
      "Acquire::Retries": "3",
    };
    const flags = Object.entries(options).flatMap(([key, value]) => ["-o", `${key}=${value}`]);
    await run(["apt-get", ...flags, "-qq", "update"]);
    return new Suite(flags);
  }

  /** The newest version of a package. Throws when the suite has none. */
  async find(name: string): Promise<ArchivePackage> {
    const { stdout } = await run(["apt-cache", ...this.#options, "show", "--no-all-versions", name]);
    const field = (key: string) => new RegExp(`^${key}: (.*)$`, "m").exec(stdout)?.[1] ?? "";
    const depends = field("Depends").split(/[,|]/);
    return {
      name: field("Package"),
      version: field("Version"),
      depends: depends.map((text) => text.trim().split(/[ :(]/)[0] ?? "").filter((each) => each !== ""),
    };
  }

  /** Downloads a package (apt checks it against the signed lists) and unpacks it into `folder`. */
  async unpack(name: string, folder: string): Promise<void> {
    const downloads = join(folder, ".download");
    await mkdir(downloads, { recursive: true });
    await run(["apt-get", ...this.#options, "-qq", "download", name], { cwd: downloads });
    for await (const file of new Bun.Glob("*.deb").scan({ cwd: downloads, absolute: true }))
      await run(["dpkg-deb", "--extract", file, folder]);
    await rm(downloads, { recursive: true });
  }
}

/** Suites without a security suite of their own: the moving ones, and backports. */
const WITHOUT_SECURITY = /^(sid|experimental|.*-backports)$/;

async function sourceLines(suite: string): Promise<string[]> {
  const release = await Bun.file("/etc/os-release").text();
  const codename = /^VERSION_CODENAME=(\S+)$/m.exec(release)?.[1];
  const format = "$(IDENTIFIER) $(RELEASE) $(REPO_URI)";
  const targets = (await run(["apt-get", "indextargets", "--format", format])).stdout;
  const mirror = (name: string) => new RegExp(`^Packages ${name} (\\S+)$`, "m").exec(targets)?.[1];
  const line = (uri: string | undefined, name: string) => {
    if (uri === undefined) throw new Error(`The machine's apt sources name no Debian mirror for ${name}`);
    return `deb [signed-by=/usr/share/keyrings/debian-archive-keyring.gpg] ${uri} ${name} main`;
  };
  const archive = line(mirror(`${codename}`), suite);
  if (WITHOUT_SECURITY.test(suite)) return [archive, ""];
  return [archive, line(mirror(`${codename}-security`), `${suite}-security`), ""];
}
