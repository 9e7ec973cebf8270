/** What the compiler says of the structs in an OpenSSL or BoringSSL source tree. Nothing of the tree is run but its own Configure. */
import { existsSync } from "node:fs";
import { mkdir } from "node:fs/promises";
import { join } from "node:path";
import { architectures } from "./paths.ts";
import { attempt, run } from "./run.ts";
import { zig } from "./zig.ts";

export type Arch = (typeof architectures)[number]["name"];

/** What the user has to mend; its message is the whole answer. */
export class SourceError extends Error {}

/** A library's kind of tree. A header with several names has the first that is there. */
interface Kind {
  readonly library: "openssl" | "boringssl";
  /** Folders that the tree's own headers are included from. */
  readonly includes: readonly string[];
  readonly headers: readonly { readonly names: readonly string[]; readonly needed: boolean }[];
  readonly compiler: "cc" | "c++";
  readonly flags: readonly string[];
  /** How C names a type. */
  readonly typeOf: (name: string) => string;
}

const one = (...names: string[]) => ({ names, needed: true });
const boringssl = (folder: string): Kind => ({
  library: "boringssl",
  includes: [folder, join(folder, "include")],
  headers: [one("ssl/internal.h"), one("crypto/bio/internal.h")],
  compiler: "c++",
  flags: ["-std=c++17", "-fno-access-control", "-DNDEBUG"],
  typeOf: (name) => name,
});

const kinds: readonly Kind[] = [
  {
    library: "openssl",
    includes: [".", "include"],
    headers: [
      // It asks to be the first that includes bio.h. 1.0.2 has none: struct bio_st is public there.
      { names: ["crypto/bio/bio_local.h", "crypto/bio/bio_lcl.h"], needed: false },
      one("ssl/ssl_local.h", "ssl/ssl_locl.h"),
      // From 3.2 on.
      { names: ["ssl/quic/quic_local.h"], needed: false },
    ],
    compiler: "cc",
    flags: [],
    typeOf: (name) => `struct ${name}`,
  },
  boringssl("."),
  // In Android's tree.
  boringssl("src"),
];

/** A member of a struct under a constant's name. */
export interface Row {
  readonly constant: string;
  /** `type.member`, the member may be one of a member. */
  readonly member: string;
}

/** A copy of a source tree, ready for the compiler. */
export class SourceTree {
  readonly #folder: string;
  readonly #kind: Kind;
  readonly #arch: (typeof architectures)[number];
  readonly #cache: string;

  private constructor(folder: string, kind: Kind, arch: Arch, cache: string) {
    this.#folder = folder;
    this.#kind = kind;
    this.#arch = architectures.find(({ name }) => name === arch) ?? architectures[0];
    this.#cache = cache;
  }

  get library(): Kind["library"] {
    return this.#kind.library;
  }

  /**
   * Copies the tree at `source` into a scratch folder and makes the headers that are generated, as its own build does.
   *
   * @param options for OpenSSL's Configure: some leave members out of structs
   * @throws SourceError
   */
  static async open(
    source: string,
    arch: Arch,
    scratch: string,
    options: readonly string[],
  ): Promise<SourceTree> {
    if (!existsSync(source)) throw new SourceError(`${source} is not there`);
    const kind = kinds.find(({ includes: [top = "."], headers }) =>
      headers.every(
        ({ names, needed }) => !needed || names.some((name) => existsSync(join(source, top, name))),
      ),
    );
    if (kind === undefined) {
      const wanted = kinds.flatMap(({ headers }) => headers.find(({ needed }) => needed)?.names ?? []);
      const names = [...new Set(wanted)].join(", ");
      throw new SourceError(`${source} is no source tree of OpenSSL or BoringSSL: it has none of ${names}`);
    }
    const folder = join(scratch, arch);
    await mkdir(folder, { recursive: true });
    await run(["cp", "--archive", `${source}/.`, folder]);
    const tree = new SourceTree(folder, kind, arch, join(scratch, "cache"));
    if (kind.library === "openssl") await tree.#configure(options);
    return tree;
  }

  async #configure(options: readonly string[]): Promise<void> {
    const target = `linux-${this.#arch.zig}`;
    for (const command of [
      ["perl", "Configure", target, ...options],
      ["make", "build_generated"],
    ]) {
      const [tool = ""] = command;
      if (Bun.which(tool) === null)
        throw new SourceError(`${tool} is missing: OpenSSL generates headers with it`);
      const { status, stdout, stderr } = await attempt(command, { cwd: this.#folder });
      if (status === 0) continue;
      const said = `${stdout}\n${stderr}`.trim().split("\n").slice(-5).join("\n");
      throw new SourceError(`"${command.join(" ")}" fails in the tree:\n${said}`);
    }
  }

  /** OPENSSL_VERSION_TEXT, e.g. `OpenSSL 3.5.7 9 Jun 2026`. A build may add a suffix. */
  async versionText(): Promise<string> {
    const paths = this.#kind.includes.map((folder) => join(this.#folder, folder, "openssl"));
    // In BoringSSL it is in crypto.h. Where there are several, the last is that of a plain build.
    for (const path of paths.flatMap((folder) => [join(folder, "opensslv.h"), join(folder, "crypto.h")])) {
      const text = existsSync(path) ? await Bun.file(path).text() : "";
      const found = [...text.matchAll(/define\s+OPENSSL_VERSION_TEXT\s+"([^"]+)"/g)].at(-1)?.[1];
      if (found !== undefined) return found;
    }
    throw new SourceError(`${this.#folder}: no header defines OPENSSL_VERSION_TEXT`);
  }

  /**
   * The members' offsets in bytes from the start of the type, by constant, as clang lays the structs out. Nothing is run,
   * so that it serves any architecture: each number is a string in the assembly, as in the kernel's asm-offsets.
   *
   * @throws SourceError that names each member which the tree does not have
   */
  async offsets(rows: readonly Row[]): Promise<Record<string, number>> {
    const { compiler, includes, headers, flags, typeOf } = this.#kind;
    const [top = "."] = includes;
    const present = headers.flatMap(
      ({ names }) => names.find((name) => existsSync(join(this.#folder, top, name))) ?? [],
    );
    const code = rows.map(({ constant, member }) => {
      const dot = member.indexOf(".");
      // BoringSSL's InplaceVector keeps what its size() tells in size_.
      const designator = member.slice(dot + 1).replace(/\.size$/, ".size_");
      const place = `offsetof(${typeOf(member.slice(0, dot))}, ${designator})`;
      // An error then begins with the constant's name.
      return `#line 1 "${constant}"\n__asm__(".ascii \\"->${constant} %c0\\\\n\\"" : : "i"(${place}));`;
    });
    const source = [
      ...present.map((name) => `#include "${name}"`),
      "#include <stddef.h>",
      "void layout(void) {",
      ...code,
      "}",
      "",
    ].join("\n");
    const input = compiler === "cc" ? "layout.c" : "layout.cc";
    await Bun.write(join(this.#folder, input), source);
    const target = ["-target", `${this.#arch.zig}-linux-gnu`, "-w", "-O0", "-g0", "-ferror-limit=0"];
    const paths = includes.map((folder) => `-I${folder}`);
    try {
      await zig([compiler, ...target, ...flags, ...paths, "-S", "-o", "layout.s", input], {
        cwd: this.#folder,
        cache: this.#cache,
      });
    } catch (error) {
      throw new SourceError(explained(String(error), rows));
    }
    const assembly = await Bun.file(join(this.#folder, "layout.s")).text();
    const found = assembly.matchAll(/->([A-Z0-9_]+) (\d+)/g);
    const offsets = Object.fromEntries([...found].map(([, name = "", offset]) => [name, Number(offset)]));
    const lost = rows.find(({ constant }) => offsets[constant] === undefined);
    if (lost !== undefined) throw new Error(`the compiler's output does not tell ${lost.constant}`);
    return offsets;
  }
}

/** The members that the compiler does not know; or else all that it says. */
function explained(said: string, rows: readonly Row[]): string {
  const missing = rows.filter(({ constant }) => new RegExp(`^${constant}:1:\\d+: error:`, "m").test(said));
  if (missing.length === 0) return said;
  return `the tree has no ${missing.map(({ member, constant }) => `${member} (${constant})`).join(", no ")}`;
}
