import { afterAll, beforeAll, describe, expect, test } from "bun:test";
import { appendFileSync, mkdirSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { writeArchives } from "../../assets/build/release/archive.ts";
import { archived, lay } from "../../assets/build/release/content.ts";
import { writeDeb } from "../../assets/build/release/deb.ts";
import { machines, type Product, type Release } from "../../assets/build/release/machines.ts";
import { writeImage } from "../../assets/build/release/oci.ts";
import { sumsOf, writeSums } from "../../assets/build/release/release.ts";
import { writeRpm } from "../../assets/build/release/rpm.ts";
import { billOfMaterials } from "../../assets/build/release/sbom.ts";
import packageJson from "../../package.json";
import { documentOf, executable, repository, run, Scratch } from "./executable.ts";
import { treeWith } from "./tree.ts";

const { version } = packageJson;
/** Compressed little: what is compressed is that of a release. */
const release: Release = {
  version,
  description: packageJson.description,
  date: 1_790_000_000,
  effort: "fast",
};
const [machine] = machines;

const scratch = new Scratch();
afterAll(() => scratch[Symbol.dispose]());
const made = (name: string): string => scratch.at(`made/${name}`);

/** Each kind of package of an executable into a folder, by the code of `bun run release`. */
async function make(folder: string, work: string, executable: string): Promise<void> {
  mkdirSync(folder, { recursive: true });
  const product: Product = {
    machine,
    executable,
    materials: await billOfMaterials(machine, executable, release),
  };
  await writeDeb(product, release, `${work}-deb`, join(folder, "offsetof.deb"));
  await writeRpm(product, release, `${work}-rpm`, join(folder, "offsetof.rpm"));
  await writeImage([product], release, `${work}-oci`, join(folder, "oci.tar"));
  await lay(join(`${work}-tar`, "offsetof"), await archived(product), release);
  await writeArchives(`${work}-tar`, "offsetof", join(folder, "offsetof"), release);
}

/** Quick to pack; what is packed makes no difference to what else is in a package. */
const small = join(repository, "assets/lib", machine.target, "libbpf.so");

beforeAll(async () => {
  await make(scratch.at("made"), scratch.at("work"), executable);
  await make(scratch.at("small"), scratch.at("here"), small);
});

/** Ends with 0, and tells stdout. */
function succeed(command: readonly string[], options: { cwd?: string } = {}): string {
  const { status, stdout, stderr } = run(command, options);
  expect([command.join(" "), status, status === 0 ? "" : stderr]).toEqual([command.join(" "), 0, ""]);
  return stdout;
}

/** Every path below a root with its type, mode, owner and link, but for what the package manager's own books are. */
const traces = (root: string, ...books: string[]): string =>
  succeed([
    ...["find", root, "-xdev", ...books.flatMap((book) => ["-path", join(root, book), "-prune", "-o"])],
    ...["-printf", "%P %y %m %U:%G %l\n"],
  ])
    .split("\n")
    .sort()
    .join("\n");

test("another umask, time zone, folder and minute give the same bytes", async () => {
  const umask = process.umask(0o077);
  const zone = process.env.TZ;
  process.env.TZ = "Asia/Kolkata";
  try {
    await make(scratch.at("again"), scratch.at("elsewhere/of/a/longer/name"), small);
  } finally {
    process.umask(umask);
    if (zone === undefined) delete process.env.TZ;
    else process.env.TZ = zone;
  }
  const sums = await sumsOf(scratch.at("small"));
  expect([...sums.keys()]).toEqual([
    "oci.tar",
    "offsetof.deb",
    "offsetof.rpm",
    "offsetof.tar.gz",
    "offsetof.tar.zst",
  ]);
  expect(await sumsOf(scratch.at("again"))).toEqual(sums);
});

/** The programs that dpkg calls, and their libraries: a root with nothing more. */
const dpkgRoot: readonly string[] = [
  ...["libc6", "libc-bin", "dash", "coreutils", "diffutils", "tar", "dpkg"],
  ...["libacl1", "libbz2-1.0", "liblzma5", "libmd0", "libpcre2-8-0", "libselinux1", "libzstd1", "zlib1g"],
];

describe.each(["bookworm", "trixie"])("the .deb in a root of %s", (suite) => {
  test("is installed, runs, and is removed without a trace", async () => {
    using root = await treeWith({ [suite]: dpkgRoot });
    succeed(["rm", root.at("offsetof")]);
    succeed(["mkdir", "-p", root.at("var/lib/dpkg/info"), root.at("var/lib/dpkg/updates"), root.at("tmp")]);
    succeed(["touch", root.at("var/lib/dpkg/status")]);
    succeed(["cp", made("offsetof.deb"), root.at("tmp/offsetof.deb")]);
    const inside = (...command: string[]): string =>
      succeed([
        ...["unshare", "--mount", "--net", "--pid", "--fork", "sh", "-c"],
        `mount -t proc proc "$0/proc" && exec chroot "$0" "$@"`,
        ...[root.path, ...command],
      ]);
    // The first look of dpkg at its own books makes some.
    inside("dpkg", "--list");
    const before = traces(root.path, "var/lib/dpkg", "var/log");

    inside("dpkg", "--install", "/tmp/offsetof.deb");
    expect(inside("dpkg-query", "--show")).toBe(`offsetof\t${version}\n`);
    expect(inside("dpkg", "--verify", "offsetof")).toBe("");
    expect(inside("offsetof", "--version", "--quiet")).toBe(`${version}\n`);
    const detected: unknown = JSON.parse(inside("offsetof", "detect", "--format", "json"));
    expect(detected).toMatchObject({ tool: { version } });

    inside("dpkg", "--purge", "offsetof");
    expect(traces(root.path, "var/lib/dpkg", "var/log")).toBe(before);
    expect(inside("dpkg-query", "--show")).toBe("");
    expect(readFileSync(root.at("var/lib/dpkg/status"), "utf8")).toBe("");
  });
});

test("the .deb depends on nothing and has no script", () => {
  const fields = succeed(["dpkg-deb", "--field", made("offsetof.deb")]);
  expect(fields).toContain("Architecture: amd64\n");
  expect(fields).not.toMatch(/^(Pre-)?Depends|^Recommends/m);
  const scripts = succeed(["dpkg-deb", "--ctrl-tarfile", made("offsetof.deb")]);
  expect(scripts).not.toMatch(/postinst|preinst|prerm|postrm|triggers/);
});

test.if(Bun.which("lintian") !== null)("lintian has nothing to say of the .deb", () => {
  const { stdout } = run(["lintian", "--allow-root", "--fail-on", "none", made("offsetof.deb")]);
  expect(stdout).toBe("");
});

describe("the .rpm", () => {
  test("is whole, and holds what the .deb does", () => {
    expect(succeed(["rpm", "--checksig", made("offsetof.rpm")])).toBe(
      `${made("offsetof.rpm")}: digests OK\n`,
    );
    const perFile = "[%{FILEMODES:perms} %{FILENAMES}\n]";
    const query = ["rpm", "--query", "--queryformat", perFile, "--package", made("offsetof.rpm")];
    const rpm = [...succeed(query).matchAll(/^-\S+ (.*)$/gm)].map(([, path = ""]) => path);
    const list = 'dpkg-deb --fsys-tarfile "$0" | tar --list';
    const deb = [...succeed(["sh", "-c", list, made("offsetof.deb")]).matchAll(/^\.(.*[^/\n])$/gm)].map(
      ([, path = ""]) => path.replace("vendor-completions", "site-functions"),
    );
    const isDebians = /\/(changelog\.gz|copyright|lintian\/.*)$/;
    expect(rpm.sort()).toEqual(deb.filter((path) => !isDebians.test(path)).sort());
    expect(rpm).toContain("/usr/bin/offsetof");
  });

  test("is installed into a root, is all there, and is erased without a trace", async () => {
    using root = await treeWith({ bookworm: ["libc6"] });
    succeed(["rm", root.at("offsetof")]);
    const rpm = (...options: string[]): string =>
      succeed(["rpm", "--root", root.path, "--dbpath", "/var/lib/rpm", ...options]);
    rpm("--initdb");
    for (const folder of ["usr/bin", "usr/share"]) mkdirSync(root.at(folder), { recursive: true });
    // What folders other packages of a distribution own is theirs to remove.
    const shared = ["man/man1", "bash-completion/completions", "zsh/site-functions", "doc"];
    for (const folder of shared) mkdirSync(root.at(`usr/share/${folder}`), { recursive: true });
    const before = traces(root.path, "var/lib/rpm");
    expect(rpm("--query", "--package", "--requires", made("offsetof.rpm"))).not.toMatch(/^(?!rpmlib\()./m);
    rpm("--install", made("offsetof.rpm"));
    expect(rpm("--verify", "offsetof")).toBe("");
    expect(
      succeed([
        "unshare",
        "--mount",
        "sh",
        "-c",
        'mount -t proc proc "$0/proc" && exec chroot "$0" offsetof --version',
        root.path,
      ]),
    ).toBe(`${version}\n`);
    rpm("--erase", "offsetof");
    expect(traces(root.path, "var/lib/rpm")).toBe(before);
  });
});

describe("the image", () => {
  const image = (): string => `oci-archive:${made("oci.tar")}:${version}`;

  test("is one that other tools read: an index, its platform, its entry point", () => {
    const inspect = (...options: string[]): unknown =>
      JSON.parse(succeed(["skopeo", "inspect", ...options, image()]));
    expect(inspect("--raw")).toMatchObject({
      mediaType: "application/vnd.oci.image.index.v1+json",
      manifests: [{ platform: { architecture: "amd64", os: "linux" } }],
    });
    expect(inspect("--config", "--override-arch", "amd64")).toMatchObject({
      created: new Date(release.date * 1000).toISOString().replace(".000Z", "Z"),
      config: { Entrypoint: ["/offsetof"] },
    });
  });

  /** The image as a runtime lays it out. */
  function unpack(): string {
    const bundle = scratch.at("bundle");
    if (run(["test", "-d", bundle]).status === 0) return join(bundle, "rootfs");
    succeed(["skopeo", "copy", "--override-arch", "amd64", image(), `oci:${scratch.at("oci")}:one`]);
    succeed(["umoci", "unpack", "--image", `${scratch.at("oci")}:one`, bundle]);
    return join(bundle, "rootfs");
  }

  test("unpacked is the executable, and the notices that go with it", () => {
    const root = unpack();
    const files = succeed(["find", ".", "-type", "f"], { cwd: root }).trimEnd().split("\n").sort();
    const texts = succeed(["ls", join(repository, "licenses")])
      .trimEnd()
      .split("\n");
    const folder = "./usr/share/doc/offsetof";
    expect(files).toEqual(
      [
        "./offsetof",
        `${folder}/LICENSE`,
        `${folder}/THIRD_PARTY.md`,
        ...texts.map((name) => `${folder}/licenses/${name}`),
      ].sort(),
    );
    succeed(["cmp", executable, join(root, "offsetof")]);
  });

  // An executable that names a loader needs a C library, which a root FROM scratch has not.
  const isUniversal = !succeed(["readelf", "--program-headers", "--wide", executable]).includes("INTERP");
  test.if(isUniversal)("runs as the whole root", () => {
    expect(succeed(["chroot", unpack(), "/offsetof", "--version", "--quiet"])).toBe(`${version}\n`);
  });
});

const guide = readFileSync(join(repository, "docs/install.md"), "utf8");
/** The scripts of a chapter of docs/install.md. */
const scriptsUnder = (title: string): string[] =>
  [...(guide.split(`\n## ${title}\n`)[1]?.split("\n## ")[0] ?? "").matchAll(/^```sh\n([\s\S]*?)^```$/gm)].map(
    ([, script = ""]) => script,
  );

test("the guide's command checks what was downloaded, some of it too, and finds what was damaged", async () => {
  const folder = scratch.at("downloaded");
  succeed(["cp", "-r", scratch.at("small"), folder]);
  await writeSums(folder);
  succeed(["rm", join(folder, "offsetof.rpm")]);
  const [check = "false"] = scriptsUnder("Checking a download");
  const { status, stdout } = run(["sh", "-c", check], { cwd: folder });
  expect([status, stdout.split("\n").sort()]).toEqual([
    0,
    ["", ...["oci.tar", "offsetof.deb", "offsetof.tar.gz", "offsetof.tar.zst"].map((name) => `${name}: OK`)],
  ]);
  appendFileSync(join(folder, "offsetof.deb"), "x");
  expect(run(["sh", "-c", check], { cwd: folder }).status).toBe(1);
});

/** Root with no more than the capabilities that a line of the guide gives a container. */
const withCapabilitiesOf = (line: string): string[] => {
  const added = [...line.matchAll(/--cap-add (\w+)/g)].map(([, name = ""]) => `+${name.toLowerCase()}`);
  return ["setpriv", `--bounding-set=-all,${added.join(",")}`, "--inh-caps=-all"];
};

test("with the capabilities that the guide gives a container everything is measured as root measures it", () => {
  const [line = ""] = scriptsUnder("In a container");
  const library = succeed(["sh", "-c", "ldd /usr/bin/openssl | grep -o '/.*libssl[^ ]*'"]).trim();
  const ask = (...words: string[]) => documentOf(run([...withCapabilitiesOf(line), executable, ...words]));
  const { kernel, diagnostics } = ask("kernel", "--format", "json");
  const limits = diagnostics.filter(({ code }) => ["E_NO_GUESS", "W_GUESS_LIMITED"].includes(code));
  expect(limits).toEqual([]);
  // These need a network namespace, and addresses in it.
  for (const constant of ["offset_netns", "offset_saddr_fl6", "offset_daddr_ipv6"])
    expect(kernel?.fields[constant]?.evidence).toHaveProperty("guess");
  const [tls] = ask("tls", library, "--format", "json").tls ?? [];
  const rbio = tls?.fields.SSL_ST_RBIO ?? tls?.fields.SSL_CONNECTION_ST_RBIO;
  expect(rbio?.evidence).toHaveProperty("probe");
});

test.each(["gz", "zst"])("the archive .tar.%s unpacks into one folder of root's", (ending) => {
  const into = scratch.at(`unpacked-${ending}`);
  mkdirSync(into);
  succeed(["tar", "--extract", "--file", made(`offsetof.tar.${ending}`), "--directory", into]);
  expect(succeed(["ls", into])).toBe("offsetof\n");
  expect(succeed(["find", into, "-mindepth", "1", "!", "(", "-user", "root", "-group", "root", ")"])).toBe(
    "",
  );
  succeed(["cmp", executable, join(into, "offsetof/offsetof")]);
  expect(succeed([join(into, "offsetof/offsetof"), "--version", "--quiet"])).toBe(`${version}\n`);
});
