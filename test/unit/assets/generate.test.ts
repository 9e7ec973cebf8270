import { afterAll, beforeAll, describe, expect, test } from "bun:test";
import {
  cpSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  rmSync,
  symlinkSync,
  writeFileSync,
} from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import * as v from "valibot";
import { downloadSource, openSuite, type SourcePackage } from "../../../assets/build/debian.ts";
import { repository } from "../../../assets/build/paths.ts";
import { chooseLayout } from "../../../src/tls/layouts/describe.ts";
import { layoutsSchema } from "../../../src/tls/layouts/layouts-schema.ts";
import { builds } from "../../truth/make.ts";
import { truthOf } from "../../truth/read.ts";

const timeout = 600_000;

let folder = "";
beforeAll(() => {
  folder = mkdtempSync(join(tmpdir(), "offsetof-generate-"));
  mkdirSync(join(folder, "scratch"));
});
// Tens of thousands of files.
afterAll(() => rmSync(folder, { recursive: true }), timeout);

const trees = new Map<string, string>();

/** The unpacked source that a truth was made of; or, where the mirror has gone on, another version that it has. */
async function treeOf(truth: string): Promise<string> {
  const known = trees.get(truth);
  if (known !== undefined) return known;
  const source = builds[truth]?.source;
  if (source === undefined) throw new Error(`${truth} is no build`);
  const into = join(folder, truth);
  await unpackSource(source, into);
  const [name = ""] = readdirSync(into, { withFileTypes: true }).flatMap((one) =>
    one.isDirectory() ? one.name : [],
  );
  trees.set(truth, join(into, name));
  return join(into, name);
}

async function unpackSource(source: SourcePackage, into: string): Promise<void> {
  try {
    await downloadSource(source, into);
  } catch (error) {
    const versions = await (await openSuite(source.suite, "source")).sourceVersions(source.name);
    for (const version of versions.filter((one) => one !== source.version)) {
      const fetched = await downloadSource({ ...source, version }, into).catch(() => null);
      if (fetched !== null) return;
    }
    throw error;
  }
}

function generate(args: readonly string[], options: { script?: string; path?: string } = {}) {
  const script = options.script ?? join(repository, "assets/build/generate.ts");
  const { exitCode, stdout, stderr } = Bun.spawnSync([process.execPath, script, ...args], {
    env: {
      PATH: options.path ?? process.env.PATH ?? "",
      HOME: process.env.HOME ?? "",
      TMPDIR: join(folder, "scratch"),
    },
  });
  return { status: exitCode, stdout: stdout.toString(), stderr: stderr.toString() };
}

const layoutSchema = v.record(
  v.string(),
  v.strictObject({ measured_on: v.string(), constants: v.record(v.string(), v.nullable(v.number())) }),
);

const layoutsOf = (library: string, project = repository) =>
  v.parse(layoutsSchema, JSON.parse(readFileSync(join(project, `assets/layouts/${library}.json`), "utf8")));

/** What is in a tree, with sizes and times. */
const listing = (tree: string): string =>
  Bun.spawnSync(["find", tree, "-printf", "%P %s %T@ %C@\n"]).stdout.toString();

test("the document's example is what the tables say", () => {
  const text = readFileSync(join(repository, "docs/adding-a-tls-version.md"), "utf8");
  const { openssl_3_6_3: shown } = v.parse(layoutSchema, JSON.parse(/^\{$.*?^\}$/ms.exec(text)?.[0] ?? ""));
  const { groups, versions, measured } = layoutsOf("openssl");
  expect(shown?.constants).toEqual(groups.openssl_3_5_0?.constants ?? {});
  expect(versions["3.6.3"]).toBe("openssl_3_5_0");
  expect(measured["3.6.5"]).toStartWith("code of Debian's 3.6.5-1");
});

// gcc made the truth, with the options of debian/rules; here it is clang, with upstream's own.
describe("a layout generated from source is what a program compiled with gcc prints", () => {
  test.each([
    ["openssl-1.1.1w", "x64", "openssl_1_1_1j"],
    ["openssl-1.1.1w", "arm64", "openssl_1_1_1j"],
    ["openssl-3.5.7", "arm64", "openssl_3_5_0"],
    ["boringssl-13", "x64", "boringssl_a_13"],
  ])(
    "%s %s",
    async (truth, arch, group) => {
      const tree = await treeOf(truth);
      const before = listing(tree);
      const { status, stdout, stderr } = generate(["--source", tree, "--name", "fresh", "--arch", arch]);
      expect(stderr).toBe(`fresh equals ${group}\n`);
      expect(status).toBe(0);
      const { fresh } = v.parse(layoutSchema, JSON.parse(stdout));
      const { members } = layoutsOf(truth.replace(/-.*/, ""));
      const figures = truthOf(truth);
      expect(fresh?.constants).toEqual(
        Object.fromEntries(
          Object.keys(fresh?.constants ?? {}).map((name) => [name, figures[members[name] ?? ""] ?? -1]),
        ),
      );
      expect(Object.keys(fresh?.constants ?? {}).length).toBeGreaterThan(19);
      // The tree is as it was, and nothing is left over.
      expect(listing(tree)).toBe(before);
      expect(readdirSync(join(folder, "scratch"))).toEqual([]);
    },
    timeout,
  );

  test(
    "as a header, with eCapture's macros",
    async () => {
      const tree = await treeOf("openssl-1.1.1w");
      const { stdout } = generate(["--source", tree, "--name", "fresh", "--format", "header"]);
      expect(stdout).toStartWith(
        "/* OPENSSL_VERSION_TEXT: OpenSSL 1.1.1w  11 Sep 2023 */\n\n" +
          "// ssl_st->version\n#define SSL_ST_VERSION 0x0\n\n// ssl_st->session\n",
      );
      const path = join(folder, "header.c");
      writeFileSync(path, `${stdout}\n_Static_assert(SSL_ST_SESSION == 1296 && BIO_ST_NUM == 48, "");\n`);
      expect(Bun.spawnSync(["cc", "-Wall", "-Werror", "-fsyntax-only", path]).exitCode).toBe(0);
    },
    timeout,
  );
});

describe("a release with another layout", () => {
  let changed = "";
  let project = "";
  beforeAll(async () => {
    changed = join(folder, "changed");
    cpSync(await treeOf("openssl-1.1.1w"), changed, { recursive: true });
    edit(
      "ssl/ssl_local.h",
      "    SSL_SESSION *session;",
      "    void *first, *second;\n    SSL_SESSION *session;",
    );
    edit("include/openssl/opensslv.h", /1\.1\.1w/g, "1.1.1x");
    // The script writes into the project that it is in.
    project = join(folder, "project");
    for (const name of ["assets/build", "assets/layouts", "src"])
      cpSync(join(repository, name), join(project, name), { recursive: true });
    for (const name of ["node_modules", "package.json"])
      symlinkSync(join(repository, name), join(project, name));
  }, timeout);

  function edit(name: string, what: string | RegExp, by: string): void {
    const text = readFileSync(join(changed, name), "utf8");
    expect(text.replace(what, by)).not.toBe(text);
    writeFileSync(join(changed, name), text.replace(what, by));
  }

  test(
    "is told beside the nearest that is known, added, and then is in the table",
    () => {
      const script = join(project, "assets/build/generate.ts");
      const args = ["--source", changed, "--name", "openssl_1_1_1x", "--add"];
      const { status, stderr } = generate(args, { script });
      expect(stderr).toBe(
        "openssl_1_1_1x is new; nearest is openssl_1_1_1j, which differs in 1:\n" +
          "  SSL_ST_SESSION: 1312, there 1296\n" +
          "added: 1.1.1x is openssl_1_1_1x\n",
      );
      expect(status).toBe(0);
      const layouts = layoutsOf("openssl", project);
      expect(chooseLayout(layouts, "1.1.1x")).toEqual({ layout: "openssl_1_1_1x", match: "exact" });
      expect(layouts.groups.openssl_1_1_1x).toMatchObject({
        measured_on: "OpenSSL 1.1.1x  11 Sep 2023",
        checked_up_to: { version: "1.1.1x", by: "generate:layout, from the headers of its source" },
      });
      expect(layouts.groups.openssl_1_1_1x?.constants).toEqual({
        ...layouts.groups.openssl_1_1_1j?.constants,
        SSL_ST_SESSION: 1312,
      });
      expect(chooseLayout(layouts, "1.1.1w").layout).toBe("openssl_1_1_1j");

      // Its name is taken now.
      edit("ssl/ssl_local.h", "void *first,", "void *third, *first,");
      const again = generate(args, { script });
      expect(again.stderr).toEndWith("openssl_1_1_1x is another layout already: choose another --name\n");
      expect(again.status).toBe(1);
      expect(layoutsOf("openssl", project)).toEqual(layouts);
    },
    timeout,
  );
});

describe("what cannot be generated is told, and nothing is left behind", () => {
  test.each([
    [["--source", "/nonexistent", "--name", "x"], 1, /^generate:layout: \/nonexistent is not there\n$/],
    [
      ["--source", "/etc", "--name", "x"],
      1,
      /^generate:layout: \/etc is no source tree of OpenSSL or BoringSSL/,
    ],
    [["--name", "x"], 2, /^usage: /],
    [["--source", "/etc", "--name", "x", "--arch", "mips"], 2, /^usage: /],
    [["--sauce", "/etc"], 2, /Unknown option '--sauce'/],
  ] as const)("%j", (args, expected, message) => {
    const { status, stdout, stderr } = generate(args);
    expect(stderr).toMatch(message);
    expect({ status, stdout }).toEqual({ status: expected, stdout: "" });
  });

  test(
    "a member that is not there, and an option that Configure does not know",
    async () => {
      const source = ["--source", await treeOf("openssl-1.1.1w"), "--name", "x"];
      expect(generate([...source, "--like", "openssl_3_0_0"]).stderr).toBe(
        "generate:layout: the tree has no ssl_st.s3.client_random (SSL_ST_S3_CLIENT_RANDOM)\n",
      );
      expect(generate([...source, "--like", "openssl_9"]).stderr).toContain(
        "--like openssl_9: there are openssl_1_0_2a,",
      );
      const { status, stderr } = generate([...source, "--", "enable-nonsense"]);
      expect(stderr).toContain('"perl Configure linux-x86_64 enable-nonsense" fails in the tree');
      expect(stderr).toContain("Unsupported options: enable-nonsense");
      expect(status).toBe(1);
      expect(readdirSync(join(folder, "scratch"))).toEqual([]);
    },
    timeout,
  );

  test(
    "without perl or make; without any C compiler it works",
    async () => {
      const path = join(folder, "bin");
      mkdirSync(path);
      const has = (...tools: string[]) => {
        for (const tool of tools) symlinkSync(Bun.which(tool) ?? "", join(path, tool));
      };
      const args = ["--source", await treeOf("openssl-1.1.1w"), "--name", "x"];
      has("cp");
      expect(generate(args, { path }).stderr).toBe(
        "generate:layout: perl is missing: OpenSSL generates headers with it\n",
      );
      has("perl");
      expect(generate(args, { path }).stderr).toBe(
        "generate:layout: make is missing: OpenSSL generates headers with it\n",
      );
      has("make", "sh", "uname", "chmod", "mv", "rm", "cat", "cmp");
      expect(generate(args, { path }).stderr).toBe("x equals openssl_1_1_1j\n");
    },
    timeout,
  );
});
