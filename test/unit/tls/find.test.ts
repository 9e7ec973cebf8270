import { afterAll, beforeAll, describe, expect, test } from "bun:test";
import {
  copyFileSync,
  cpSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  realpathSync,
  renameSync,
  rmSync,
  symlinkSync,
  truncateSync,
  unlinkSync,
  writeFileSync,
} from "node:fs";
import { tmpdir } from "node:os";
import { basename, dirname, join } from "node:path";
import * as v from "valibot";
import { Elf } from "../../../src/elf/elf.ts";
import { definesStatic } from "../../../src/elf/symbols.ts";
import { Root } from "../../../src/host/root.ts";
import { type LibraryReport, librarySchema } from "../../../src/output/document.ts";
import { diagnosticSchema } from "../../../src/output/schema-parts.ts";
import type { Scope } from "../../../src/tls/find/find.ts";
import { holdsTls } from "../../../src/tls/find/holds.ts";
import { readSearchPath } from "../../../src/tls/find/search-path.ts";
import { tlsReports } from "../../../src/tls/tls.ts";
import { until } from "../../until.ts";
import { debianPackage, fetchTimeout, loadSamples } from "./debian.ts";
import { loadNode, nodeSamples } from "./node.ts";

const lib = "usr/lib/x86_64-linux-gnu";
const own = realpathSync(process.execPath);
let folder = "";
let holder = "";

beforeAll(async () => {
  await loadSamples();
  folder = realpathSync(mkdtempSync(join(tmpdir(), "offsetof-scan-")));
  holder = join(folder, "holder");
  output(["cc", "-o", holder, join(import.meta.dir, "holder.c")]);
}, fetchTimeout);
afterAll(() => rmSync(folder, { recursive: true }));

function output(command: string[], env: Record<string, string> = {}): string {
  const { exitCode, stdout, stderr } = Bun.spawnSync(command, {
    env: { PATH: "/usr/sbin:/usr/bin:/bin", ...env },
  });
  if (exitCode !== 0) throw new Error(`${command.join(" ")}: ${stderr}`);
  return stdout.toString();
}

test("a walk of the linker's folders misses none that another one looked for meanwhile", () => {
  using root = new Root("/");
  const { folders } = readSearchPath(root).searchPath;
  const first = folders();
  first.next();
  const all = [...folders()];
  expect(all.length).toBeGreaterThan(3);
  expect([all[0] ?? "", ...first]).toEqual(all);
});

/** What is known of this machine, checked against the document's schema. */
async function look(scope?: Scope) {
  const { reports, diagnostics } = await tlsReports({
    proc: "/proc",
    sources: ["code", "table"],
    ...(scope && { scope }),
  });
  return {
    reports: reports.map((report) => v.parse(librarySchema, report)),
    diagnostics: diagnostics.map((one) => v.parse(diagnosticSchema, one)),
  };
}
const usedBy = (reports: readonly LibraryReport[], pid: number) =>
  reports.filter((report) => report.used_by.includes(pid));

/** A process that has started, and ends with the test. */
async function start(command: string[], env: Record<string, string> = {}) {
  const child = Bun.spawn(command, { env, stdin: "pipe", stdout: "pipe", stderr: "inherit" });
  return {
    pid: child.pid,
    child,
    async [Symbol.asyncDispose]() {
      child.kill("SIGKILL");
      await child.exited;
    },
  };
}

/** `openssl` of a package, with copies of its libraries of its own, waiting for input with both of them loaded. */
async function startOpenssl(suite: "bullseye" | "bookworm", place: string, wrap: string[] = []) {
  const libraries = debianPackage(suite, "amd64", suite === "bullseye" ? "libssl1.1" : "libssl3");
  cpSync(join(libraries.root, lib), join(place, lib), { recursive: true });
  const program = join(place, "openssl");
  copyFileSync(join(debianPackage(suite, "amd64", "openssl").root, "usr/bin/openssl"), program);
  const inside = wrap.length === 0 ? place : "";
  const started = await start([...wrap, `${inside}/openssl`, "base64"], {
    LD_LIBRARY_PATH: `${inside}/${lib}`,
  });
  await until(() => /libcrypto/.test(output(["cat", `/proc/${started.pid}/maps`])));
  return { started, version: libraries.version.replace(/-.*$/, "") };
}

/** `holder` with these files mapped by so many processes. */
async function hold(count: number, files: string[]) {
  const started = await start([holder, String(count), ...files]);
  const { value } = await started.child.stdout.getReader().read();
  expect(new TextDecoder().decode(value)).toBe("ready\n");
  return started;
}

describe("what processes use", () => {
  test("one entry a file, used by those of which lsof says so; a program that only imports is none", async () => {
    const place = join(folder, "used");
    const { started, version } = await startOpenssl("bookworm", place);
    await using _ = started;
    await using other = await hold(3, [join(place, lib, "libssl.so.3")]);
    const { reports } = await look();
    const mine = usedBy(reports, started.pid);
    const path = join(place, lib, "libssl.so.3");
    expect(mine).toMatchObject([
      { path, library: "openssl", version, version_from: "libcrypto.so.3 .rodata" },
    ]);
    expect(mine[0]).not.toHaveProperty("root");
    const told = output(["lsof", "-t", "-w", path]).trim().split("\n").map(Number);
    expect(told).toContain(other.pid);
    expect(told.length).toBe(4);
    expect(mine[0]?.used_by).toEqual(told.sort((a, b) => a - b));
    expect(reports.flatMap((report) => report.used_by)).not.toContain(process.pid);
  });

  test("--pid: that process's alone, with all who use them", async () => {
    const { started, version } = await startOpenssl("bullseye", join(folder, "one"));
    await using _ = started;
    await using other = await hold(1, [join(folder, "one", lib, "libssl.so.1.1")]);
    const { reports } = await look({ kind: "process", pid: started.pid });
    expect(reports.map((one) => [one.version, one.used_by])).toEqual([
      [version, [started.pid, other.pid].sort((a, b) => a - b)],
    ]);
    expect((await look({ kind: "process", pid: other.pid })).reports.length).toBe(1);
    expect(look({ kind: "process", pid: 2 ** 30 })).rejects.toThrow("there is no process");
  });

  test("a deleted library is read itself, not what lies in its place now", async () => {
    const place = join(folder, "gone");
    const { started, version } = await startOpenssl("bookworm", place);
    await using _ = started;
    rmSync(join(place, lib), { recursive: true });
    const newer = debianPackage("trixie", "amd64", "libssl3t64");
    cpSync(join(newer.root, lib), join(place, lib), { recursive: true });
    const { reports } = await look();
    const path = join(place, lib, "libssl.so.3");
    expect(usedBy(reports, started.pid)).toMatchObject([{ path, deleted: true, version }]);
    // The independent reader: the kernel's own link still leads to the removed file.
    const range = /^(\S+) r-xp .*libssl\.so\.3 \(deleted\)$/m.exec(
      output(["cat", `/proc/${started.pid}/maps`]),
    )?.[1];
    const notes = output(["readelf", "--notes", `/proc/${started.pid}/map_files/${range}`]);
    expect(usedBy(reports, started.pid)[0]?.build_id).toBe(/Build ID: (\S+)/.exec(notes)?.[1] ?? "");
    const [replaced] = (await look({ kind: "files", paths: [path] })).reports;
    expect(replaced).toMatchObject({ path, used_by: [], version: newer.version.replace(/-.*$/, "") });
  });

  test.each([
    ["chroot", (root: string) => ["/usr/sbin/chroot", root]],
    ["a mount namespace", (root: string) => ["/usr/bin/unshare", "--mount", "--root", root]],
  ])("%s: the library and its libcrypto are its own root's", async (name, wrap) => {
    const root = join(folder, name);
    const program = join(debianPackage("bullseye", "amd64", "openssl").root, "usr/bin/openssl");
    const needed = output(["ldd", program], {
      LD_LIBRARY_PATH: join(debianPackage("bullseye", "amd64", "libssl1.1").root, lib),
    });
    const paths = [...needed.matchAll(/(?:=> |\t)(\/\S+) \(/g)].map(([, path = ""]) => path);
    for (const path of paths.filter((one) => !/libssl|libcrypto/.test(one))) {
      mkdirSync(dirname(join(root, path)), { recursive: true });
      copyFileSync(path, join(root, path));
    }
    // What is not mapped must not be taken from the host: the link leads inside the root.
    symlinkSync(`/${lib}/libcrypto.so.1.1`, join(root, "libcrypto"));
    const { started, version } = await startOpenssl("bullseye", root, wrap(root));
    await using _ = started;
    const { reports } = await look();
    expect(usedBy(reports, started.pid)).toMatchObject([
      { path: `/${lib}/libssl.so.1.1`, root: `/proc/${started.pid}/root`, version, used_by: [started.pid] },
    ]);
  });

  test("odd names, a device and a huge file are each told once, as what they are", async () => {
    const place = join(folder, "odd");
    mkdirSync(place);
    const library = join(debianPackage("bullseye", "amd64", "libssl1.1").root, lib, "libssl.so.1.1");
    const forged = "x\r00400000-0040b000 r-xp 00000000 fe:00 1 ";
    const names = [
      "a b",
      "new\nline",
      "not (deleted)",
      "real\\012",
      "\x1b[31mred",
      forged,
      "removed",
      "both (deleted)",
    ];
    const files = names.map((name) => join(place, name));
    for (const file of files) copyFileSync(library, file);
    const huge = join(place, "huge");
    copyFileSync(library, huge);
    truncateSync(huge, 17 * 2 ** 30);
    await using held = await hold(1, [...files, huge, "/dev/zero"]);
    unlinkSync(join(place, "removed"));
    unlinkSync(join(place, "both (deleted)"));
    const { reports, diagnostics } = await look();
    const told = usedBy(reports, held.pid).map((one) => [basename(one.path ?? ""), one.deleted ?? false]);
    expect(told.sort()).toEqual(
      names.map((name) => [name, name === "removed" || name === "both (deleted)"]).sort(),
    );
    expect(diagnostics.filter(({ code }) => code === "W_TLS_LARGE")).toEqual([
      { code: "W_TLS_LARGE", message: `${huge} not read: more than 16 GiB` },
    ]);
  });

  test("one renamed is at its new path, one replaced by a FIFO or a device is read all the same", async () => {
    const place = join(folder, "moved");
    const { started, version } = await startOpenssl("bullseye", place);
    await using _ = started;
    renameSync(join(place, lib), join(place, "elsewhere"));
    mkdirSync(join(place, lib));
    const library = join(place, "elsewhere/libssl.so.1.1");
    const before = usedBy((await look()).reports, started.pid);
    expect(before).toMatchObject([{ path: library, version }]);
    unlinkSync(library);
    output(["mkfifo", library]);
    const after = usedBy((await look()).reports, started.pid);
    expect(after).toMatchObject([{ path: library, deleted: true, build_id: before[0]?.build_id }]);
  });

  test("processes that come and go are no error", async () => {
    const script = `while :; do openssl version > /dev/null; done`;
    await using _churn = await start(["sh", "-c", script], { PATH: "/usr/bin:/bin" });
    for (let round = 0; round < 20; round++) {
      const { diagnostics } = await look();
      expect(diagnostics.filter(({ code }) => code === "W_TLS_FILE" || code.startsWith("E_"))).toEqual([]);
    }
  });
});

test("--all looks into folders and files of any name", async () => {
  const root = join(folder, "walked");
  const library = join(debianPackage("bullseye", "amd64", "libssl1.1").root, lib, "libssl.so.1.1");
  const script = `d=$(printf '%s/opt/\\377/new\\nline' "$1"); mkdir -p "$d"; for n in 'a\\376.so' 'b.so'; do cp "$2" "$d/$(printf "$n")"; done`;
  output(["sh", "-ec", script, "sh", root, library]);
  const { reports } = await tlsReports({ root, scope: { kind: "machine", deep: true }, sources: ["table"] });
  expect(reports.map(({ path }) => path)).toEqual([
    "/opt/\\xff/new\nline/a\\xfe.so",
    "/opt/\\xff/new\nline/b.so",
  ]);
});

describe("files the user names", () => {
  const named = (...paths: string[]) => look({ kind: "files", paths });

  test("of a program that imports TLS the library counts that ldd says it is linked with", async () => {
    const linked = /libssl\S+ => (\S+)/.exec(output(["ldd", "/usr/bin/openssl"]))?.[1] ?? "";
    const { reports, diagnostics } = await named("/usr/bin/openssl");
    expect(reports.map((one) => one.path)).toEqual([realpathSync(linked)]);
    expect(diagnostics.find(({ code }) => code === "W_TLS_IMPORTS")?.message).toContain("only uses TLS");
  });

  test("what is no TLS library is told, and the others are answered", async () => {
    const path = join(
      debianPackage("trixie", "arm64", "libssl3t64").root,
      "usr/lib/aarch64-linux-gnu/libssl.so.3",
    );
    writeFileSync(join(folder, "text"), "no library");
    const { reports, diagnostics } = await named(
      "/bin/true",
      join(folder, "text"),
      folder,
      "/nowhere",
      path,
      path,
    );
    expect(reports.map((one) => one.path)).toEqual([path]);
    const told = diagnostics.filter(({ code }) => code === "E_TLS_PATH").map(({ message }) => message);
    expect(told).toEqual([
      "/bin/true: no TLS library is inside, and none that it links was found",
      expect.stringContaining("text: 10 bytes are too few for an ELF header"),
      `${folder}: not a regular file`,
      "/nowhere: cannot be read: ENOENT",
    ]);
  });

  test(
    "the OpenSSL inside Node.js has the version that Node.js tells itself",
    async () => {
      const samples = nodeSamples.filter(
        ({ arch, version }) => arch === "x64" && /^(10|16|20)\./.test(version),
      );
      expect(samples.length).toBe(3);
      for (const sample of samples) {
        const path = await loadNode(sample);
        const said = output([path, "-p", "process.versions.openssl"]).trim();
        const { reports } = await named(path);
        expect(reports).toMatchObject([
          { path, library: "openssl", version: said, version_from: "node .rodata" },
        ]);
      }
    },
    fetchTimeout,
  );
});

describe("a program with TLS inside", () => {
  test("one that is stripped of symbols is recognised: Bun has BoringSSL", async () => {
    expect(output(["readelf", "--dyn-syms", "--wide", own])).not.toContain(" SSL_new");
    const { reports } = await look({ kind: "files", paths: [own] });
    expect(reports).toMatchObject([{ path: own, library: "boringssl", version: null }]);
  });

  test("symbols are those that readelf calls defined", () => {
    const folders = ["/usr/lib/x86_64-linux-gnu", "/usr/bin"];
    const paths = folders.flatMap((at) => readdirSync(at).map((name) => join(at, name))).slice(0, 250);
    let checked = 0;
    for (const path of [...paths, "/usr/bin/openssl", join(folders[0] ?? "", "libssl.so.3")]) {
      let elf: Elf;
      try {
        elf = Elf.open(realpathSync(path));
      } catch {
        continue;
      }
      using _ = elf;
      const rows = output(["readelf", "--dyn-syms", "--wide", path]).split("\n");
      // Num: Value Size Type Bind Vis Ndx Name[@version]
      const symbols = rows
        .map((row) => row.trim().split(/\s+/))
        .filter(([number, , , , bind]) => /^\d+:$/.test(number ?? "") && bind !== "LOCAL")
        .map((cells) => ({ isDefined: cells[6] !== "UND", name: (cells[7] ?? "").replace(/@.*/, "") }));
      const defined = new Set(symbols.filter((one) => one.isDefined).map(({ name }) => name));
      for (const { name } of symbols.filter((one) => one.name !== "").slice(0, 40)) {
        const isDefined = defined.has(name);
        expect([path, name, elf.defines(name)]).toEqual([path, name, isDefined]);
        checked += 1;
      }
      expect(elf.defines("no such symbol")).toBe(false);
    }
    expect(checked).toBeGreaterThan(1000);
  });

  test.each(["gnu", "sysv"])("defined and imported, with a hash table of style %s", (style) => {
    const source = join(folder, "ssl.c");
    writeFileSync(source, "void *SSL_new(void) { return 0; }\n");
    const defines = join(folder, `libmine-${style}.so`);
    const link = `-Wl,--hash-style=${style}`;
    output(["cc", "-shared", "-fPIC", link, "-o", defines, source]);
    writeFileSync(source, "void *SSL_new(void); int main(void) { return SSL_new() != 0; }\n");
    const imports = join(folder, `imports-${style}`);
    output(["cc", link, "-o", imports, source, defines]);
    const answer = (path: string) => {
      using elf = Elf.open(path);
      return holdsTls(elf);
    };
    expect([answer(defines), answer(imports)]).toEqual([true, false]);
  });

  test("hidden, under a prefix, in the full symbol table alone", () => {
    const source = join(folder, "hidden.c");
    const main = "int main(void) { return pre_SSL_new(filler) != 0; }\n";
    const filler = "static char filler[600000] = {1};\n";
    writeFileSync(
      source,
      `${filler}static char *__attribute__((noinline)) pre_SSL_new(char *p) { return p; }\n${main}`,
    );
    const program = join(folder, "hidden");
    output(["cc", "-O0", "-o", program, source]);
    const answer = () => {
      using elf = Elf.open(program);
      return holdsTls(elf);
    };
    expect(answer()).toBe(true);
    output(["strip", program]);
    expect(answer()).toBe(false);
  });
});

test("a symbol table full of the one name is refused", () => {
  const source = join(folder, "full.s");
  const program = join(folder, "full.o");
  writeFileSync(source, ".globl SSL_new\nSSL_new:\n");
  output(["cc", "-c", "-o", program, source]);
  const bytes = readFileSync(program);
  const strings = Buffer.from("_SSL_new\0".repeat(3 << 20));
  const strtab = [...Array(bytes.readUInt16LE(60)).keys()]
    .map((index) => Number(bytes.readBigUInt64LE(40)) + index * 64)
    .findLast(
      (at) =>
        bytes.readUInt32LE(at + 4) === 3 &&
        bytes.indexOf("\0SSL_new\0", Number(bytes.readBigUInt64LE(at + 24))) > 0,
    );
  if (strtab === undefined) throw new Error("no string table");
  bytes.writeBigUInt64LE(BigInt(bytes.length), strtab + 24);
  bytes.writeBigUInt64LE(BigInt(strings.length), strtab + 32);
  writeFileSync(program, Buffer.concat([bytes, strings]));
  using elf = Elf.open(program);
  expect(() => definesStatic(elf, "SSL_new")).toThrow("the same names more than 10000 times");
});

describe("scale", () => {
  /** What is opened while looking at nothing but this: so many processes, each with the same 30 copies of libssl. */
  function opened(count: number) {
    const copies = Array.from({ length: 30 }, (_, index) => join(folder, `copies/libssl.so.3.${index}`));
    const library = debianPackage("bookworm", "amd64", "libssl3").root;
    mkdirSync(join(folder, "copies"), { recursive: true });
    for (const copy of copies) copyFileSync(join(library, lib, "libssl.so.3"), copy);
    copyFileSync(join(library, lib, "libcrypto.so.3"), join(folder, "copies/libcrypto.so.3"));
    const program = join(folder, "look.ts");
    writeFileSync(
      program,
      `import { tlsReports } from ${JSON.stringify(join(import.meta.dir, "../../../src/tls/tls.ts"))};
       const { reports } = await tlsReports({ proc: "/proc", sources: ["code", "table"] });
       console.log(JSON.stringify(reports.filter((one) => one.path.includes("/copies/")).map((one) => [one.version, one.used_by.length])));`,
    );
    const trace = join(folder, `trace-${count}`);
    const script = `${holder} ${count} ${copies.join(" ")} > ${folder}/ready & until grep -q ready ${folder}/ready; do sleep 0.1; done
      strace -ff -y -e trace=openat,pread64 -o ${trace} ${own} ${program}; kill $!`;
    const said = output(["unshare", "--pid", "--fork", "--mount-proc", "sh", "-c", script]);
    expect(JSON.parse(said)).toEqual(copies.map(() => [expect.stringMatching(/^3\.0\./), count]));
    // A file for each thread: in one, calls at the same time cut each other in two.
    const lines = output(["sh", "-c", `cat ${trace}.*`]).split("\n");
    const paths = lines
      .filter((one) => one.includes("openat("))
      .map((one) => /"([^"]*)"/.exec(one)?.[1] ?? "");
    /** Bytes read of a file. */
    const read = (path: string) =>
      lines
        .filter((one) => one.includes("pread64(") && one.includes(`<${path}>`))
        .reduce((sum, one) => sum + Number(/= (\d+)$/.exec(one)?.[1] ?? 0), 0);
    return {
      maps: paths.filter((path) => /^\/proc\/\d+\/maps$/.test(path)).length,
      mapped: paths.filter((path) => path.includes("/map_files/")).length,
      read: copies.map(read),
      crypto: read(join(folder, "copies/libcrypto.so.3")),
    };
  }

  test("300 processes cost the reading of their maps, 30 libraries one look and one reading each", () => {
    const few = opened(10);
    const many = opened(300);
    expect(many.maps - few.maps).toBe(290);
    expect(many.mapped).toBe(few.mapped);
    // Each copy is opened once, and so is what else was mapped: the shell, strace, the holder, their libraries.
    expect(many.mapped).toBeLessThan(30 + 25);
    expect({ read: many.read, crypto: many.crypto }).toEqual({ read: few.read, crypto: few.crypto });
    for (const bytes of many.read) expect(bytes).toBeGreaterThan(10_000);
    // One reading of the constants of the libcrypto they share, and 30 looks at its headers.
    using crypto = Elf.open(join(folder, "copies/libcrypto.so.3"));
    const constants = crypto.readOnly().reduce((sum, { size }) => sum + size, 0);
    expect(many.crypto).toBeGreaterThan(constants);
    expect(many.crypto).toBeLessThan(constants * 1.2);
  });
});

test("an ordinary user sees its own processes' libraries, and is told once of all others", async () => {
  const place = join(folder, "user");
  mkdirSync(place);
  output(["chmod", "755", folder]);
  const path = join(place, "libssl.so.1.1");
  copyFileSync(join(debianPackage("bullseye", "amd64", "libssl1.1").root, lib, "libssl.so.1.1"), path);
  const program = join(place, "look.ts");
  const bundle = await Bun.build({
    entrypoints: [join(import.meta.dir, "../../../src/tls/tls.ts")],
    target: "bun",
    outdir: place,
  });
  expect(bundle.success).toBe(true);
  copyFileSync(own, join(place, "bun"));
  writeFileSync(
    program,
    `import { tlsReports } from "./tls.js"; console.log(JSON.stringify(await tlsReports({ proc: "/proc", sources: ["code", "table"] })));`,
  );
  const ready = join(place, "ready");
  writeFileSync(ready, "");
  output(["chmod", "666", ready]);
  const script = `${holder} 2 ${path} > ${ready} & until grep -q ready ${ready}; do sleep 0.1; done
    ${join(place, "bun")} ${program}; kill $!`;
  const said = output(["setpriv", "--reuid=65534", "--regid=65534", "--clear-groups", "sh", "-c", script]);
  const { reports, diagnostics } = JSON.parse(said.slice(said.indexOf("{")));
  const mine = reports.filter((one: LibraryReport) => one.path === path);
  expect(mine).toMatchObject([{ version: "1.1.1w" }]);
  expect(mine[0].used_by.length).toBe(2);
  expect(diagnostics.filter(({ code }: { code: string }) => code === "W_TLS_DENIED").length).toBe(1);
});
