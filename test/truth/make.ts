/**
 * bun test/truth/make.ts [NAME...]: makes the files beside it again, what the headers of real builds say.
 *
 * An independent reader of layouts: the compiler of the machine (gcc, not the project's zig) compiles a program with
 * `offsetof` against the private headers in a Debian source package, configured as debian/rules does, and runs it. Then
 * clang asserts every figure for aarch64 against headers that were configured for arm64.
 */
import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { downloadSource, type SourcePackage } from "../../assets/build/debian.ts";
import { run } from "../../assets/build/run.ts";
import { zig } from "../../assets/build/zig.ts";
import type { KnownLibrary } from "../../src/tls/layouts/layouts.ts";

/** Members by their type, as C names it. `s3.` is a member of a member. */
type Members = Readonly<Record<string, readonly string[]>>;

export interface Build {
  readonly source: SourcePackage;
  readonly headers: readonly string[];
  /** Types among the members' that C names without `struct`. */
  readonly typedefs?: readonly string[];
  readonly members: Members;
  /** Whose size bounds every offset in it. */
  readonly connection: string;
  readonly compiler: "cc" | "c++";
  /** Flags for an architecture, headers generated where there are any to be. */
  configure(folder: string, architecture: "amd64" | "arm64"): Promise<readonly string[]>;
}

const secrets = [
  "early_secret",
  "handshake_secret",
  "master_secret",
  "resumption_master_secret",
  "client_finished_secret",
  "server_finished_secret",
  "server_finished_hash",
  "handshake_traffic_hash",
  "client_app_traffic_secret",
  "server_app_traffic_secret",
  "exporter_master_secret",
  "early_exporter_master_secret",
];
const connection = ["version", "session", "s3", "rbio", "wbio", "server", ...secrets];
const randoms = ["client_random", "server_random"];
const embedded = randoms.map((name) => `s3.${name}`);
const others: Members = {
  ssl_session_st: ["ssl_version", "master_key_length", "master_key", "cipher", "cipher_id"],
  ssl_cipher_st: ["id"],
  bio_st: ["num", "method", "ptr"],
  bio_method_st: ["type"],
  ssl_ctx_st: ["keylog_callback"],
};
/** Up to 1.1.1 s3 is a pointer; from 3.0 on it is embedded; from 3.2 on ssl_st is but the head of the connection. */
const shapes = {
  pointer: { ssl_st: ["ctx", "method", ...connection], ssl3_state_st: randoms, ...others },
  embedded: { ssl_st: ["ctx", "method", ...connection, ...embedded], ...others },
  connection: {
    ssl_st: ["type", "ctx", "method"],
    ssl_connection_st: [...connection, ...embedded],
    ...others,
    quic_conn_st: ["tls"],
  },
} satisfies Record<string, Members>;

function shapeOf(version: string): keyof typeof shapes {
  const [major = 0, minor = 0] = version.split(".").map(Number);
  if (major < 3) return "pointer";
  return major === 3 && minor < 2 ? "embedded" : "connection";
}

/** The arguments of Configure in a source tree of Debian's. */
export type Configuration = (folder: string, architecture: "amd64" | "arm64") => Promise<readonly string[]>;

/** As debian/rules configures the shared library. */
export const asDebian: Configuration = async (folder, architecture) => {
  const variables = [`DEB_HOST_ARCH=${architecture}`, "CROSS_COMPILE="];
  const print = ["--eval", "print: ; @echo $(CONFARGS)", "print"];
  const rules = ["make", "--no-print-directory", "-f", "debian/rules", ...variables, ...print];
  const options = (await run(rules, { cwd: folder })).stdout.trim().split(/\s+/);
  return ["shared", ...options, `debian-${architecture}`];
};

export function openssl(suite: string, version: string, configuration: Configuration = asDebian): Build {
  const shape = shapeOf(version);
  const quic = shape === "connection" ? ["ssl/quic/quic_local.h"] : [];
  return {
    source: { suite, name: "openssl", version },
    // bio_local.h asks to be the first to include bio.h.
    headers: ["crypto/bio/bio_local.h", "ssl/ssl_local.h", ...quic],
    members: shapes[shape],
    connection: shape === "connection" ? "ssl_connection_st" : "ssl_st",
    compiler: "cc",
    async configure(folder, architecture) {
      const options = await configuration(folder, architecture);
      await run(["perl", "Configure", ...options], { cwd: folder });
      await run(["make", "build_generated"], { cwd: folder });
      return ["-I.", "-Iinclude"];
    },
  };
}

/** Of every Android release here. */
const state = [
  "hs",
  ...randoms,
  "exporter_secret",
  "exporter_secret_len",
  "established_session",
  "write_traffic_secret",
  "read_traffic_secret",
];
const handshake = [
  "ssl",
  "new_session",
  "early_session",
  "hints",
  "client_version",
  "state",
  "tls13_state",
  "min_version",
  "max_version",
  "hash_len_",
  "secret_",
  "early_traffic_secret_",
  "client_handshake_secret_",
  "server_handshake_secret_",
  "client_traffic_secret_0_",
  "server_traffic_secret_0_",
];

function boringssl(suite: string, version: string): Build {
  return {
    source: { suite, name: "android-platform-external-boringssl", version },
    headers: ["ssl/internal.h", "crypto/bio/internal.h"],
    members: {
      ssl_st: ["method", "config", "version", "rbio", "wbio", "s3", "ctx", "session"],
      "bssl::SSL3_STATE": state,
      "bssl::SSL_HANDSHAKE": handshake,
      ssl_session_st: ["ssl_version", "secret_length", "secret", "cipher"],
      ssl_cipher_st: ["id"],
      bio_st: ["num", "method", "ptr"],
      bio_method_st: ["type"],
      ssl_ctx_st: ["keylog_callback"],
    },
    connection: "ssl_st",
    compiler: "c++",
    configure: async () => [
      ...["-Isrc", "-Isrc/include", "-std=gnu++2a", "-fno-access-control", "-Wno-invalid-offsetof"],
      // Those of debian/rules that headers ask for.
      ...["-DNDEBUG", "-DBORINGSSL_ANDROID_SYSTEM", "-DBORINGSSL_IMPLEMENTATION"],
      ...["-DBORINGSSL_SHARED_LIBRARY", "-DOPENSSL_SMALL"],
    ],
  };
}

/**
 * Its layout does not hang on what configure finds, so that what the headers ask for is written without it: they were compiled beside
 * those of a whole ./configure of 3.7.9, and are the same.
 */
function gnutls(suite: string, version: string): Build {
  const parameters = ["entity", "prf", "client_random", "master_secret"];
  const keys = ["e_ckey", "hs_ckey", "hs_skey", "ap_ckey", "ap_skey", "ap_expkey"];
  return {
    source: { suite, name: "gnutls28", version },
    headers: ["gnutls_int.h"],
    typedefs: ["security_parameters_st", "version_entry_st"],
    members: {
      gnutls_session_int: [
        "security_parameters",
        ...parameters.map((name) => `security_parameters.${name}`),
        ...keys.map((name) => `key.proto.tls13.${name}`),
      ],
      security_parameters_st: ["pversion"],
      version_entry_st: ["id"],
      mac_entry_st: ["id"],
    },
    connection: "gnutls_session_int",
    compiler: "cc",
    async configure(folder) {
      const asked = /#undef (HAVE_STDBOOL_H|HAVE_SYS_SOCKET_H|HAVE_C_BOOL)$/gm;
      const config = await Bun.file(join(folder, "config.h.in")).text();
      await Bun.write(join(folder, "config.h"), config.replace(asked, "#define $1 1"));
      const header = join(folder, "lib/includes/gnutls/gnutls.h");
      const text = await Bun.file(`${header}.in`).text();
      const vector = "#include <sys/uio.h>\ntypedef struct iovec giovec_t;";
      await Bun.write(header, text.replace("@DEFINE_IOVEC_T@", vector).replace(/@[A-Z_]+@/g, "0"));
      return ["-w", "-DHAVE_CONFIG_H", "-I.", "-Igl", "-Ilib", "-Ilib/includes", "-Ilib/minitasn1"];
    },
  };
}

/** The build of a suite's library. */
export const buildOf = (suite: string, library: KnownLibrary, version: string): Build =>
  ({ openssl, boringssl, gnutls })[library](suite, version);

/** By the file's name. */
export const builds: Readonly<Record<string, Build>> = {
  "openssl-1.1.1w": openssl("bullseye", "1.1.1w-0+deb11u1"),
  "openssl-3.0.20": openssl("bookworm", "3.0.20-1~deb12u2"),
  "openssl-3.0.22": openssl("bookworm", "3.0.22-1~deb12u2"),
  "openssl-3.5.7": openssl("trixie", "3.5.7-1~deb13u2"),
  "openssl-3.6.3": openssl("sid", "3.6.3-1"),
  "openssl-4.0.2": openssl("experimental", "4.0.2-1"),
  "boringssl-13": boringssl("bookworm", "13.0.0+r24-2"),
  "boringssl-14": boringssl("sid", "14.0.0+r45-3"),
  "gnutls-3.7.1": gnutls("bullseye", "3.7.1-5+deb11u5"),
  "gnutls-3.7.9": gnutls("bookworm", "3.7.9-2+deb12u7"),
  "gnutls-3.8.9": gnutls("trixie", "3.8.9-3+deb13u4"),
  "gnutls-3.8.13": gnutls("sid", "3.8.13-1"),
};

/** Bytes by `type.member`, the same for x86-64 and arm64. @throws where they are not */
async function measure(build: Build): Promise<Record<string, number>> {
  const scratch = await mkdtemp(join(tmpdir(), "offsetof-truth-"));
  const unpack = async (into: string): Promise<string> => {
    await downloadSource(build.source, join(scratch, into));
    const { stdout } = await run(["find", ".", "-mindepth", "1", "-maxdepth", "1", "-type", "d"], {
      cwd: join(scratch, into),
    });
    return join(scratch, into, stdout.trim());
  };
  try {
    const figures = await measured(build, await unpack("amd64"));
    await assertForArm64(build, await unpack("arm64"), figures, join(scratch, "cache"));
    return figures;
  } finally {
    await rm(scratch, { recursive: true });
  }
}

/** What the files beside this one hold. */
export async function truthFile(build: Build): Promise<{ package: string; figures: Record<string, number> }> {
  return { package: packageOf(build), figures: await measure(build) };
}
export const packageOf = ({ source }: Build): string => `${source.name} ${source.version}`;

const includes = ({ headers }: Build): string =>
  [...headers.map((header) => `#include "${header}"\n`), "#include <stddef.h>\n#include <stdio.h>\n"].join(
    "",
  );

/** Configures the unpacked source in `folder`. Bytes by `type.member`, as a program prints them. */
export async function measured(build: Build, folder: string): Promise<Record<string, number>> {
  const flags = await build.configure(folder, "amd64");
  const rows = Object.entries(build.members).flatMap(([type, members]) =>
    members.map(
      (member) => `printf("%s %zu\\n", "${type}.${member}", offsetof(${cType(build, type)}, ${member}));`,
    ),
  );
  const size = `printf("sizeof_connection %zu\\n", sizeof(${cType(build, build.connection)}));`;
  const source = join(folder, build.compiler === "cc" ? "truth.c" : "truth.cc");
  await Bun.write(source, `${includes(build)}int main() {\n${[...rows, size].join("\n")}\nreturn 0;\n}\n`);
  const compiler = build.compiler === "cc" ? "gcc" : "g++";
  await run([compiler, ...flags, "-o", "truth", source], { cwd: folder });
  const { stdout } = await run([join(folder, "truth")]);
  return Object.fromEntries(
    stdout
      .trim()
      .split("\n")
      .map((line) => line.split(" "))
      .map(([key = "", value]) => [key, Number(value)]),
  );
}

const cType = ({ compiler, typedefs = [] }: Build, type: string): string =>
  compiler === "cc" && !typedefs.includes(type) ? `struct ${type}` : type;

async function assertForArm64(
  build: Build,
  folder: string,
  figures: Readonly<Record<string, number>>,
  cache: string,
): Promise<void> {
  const flags = await build.configure(folder, "arm64");
  const assertion = build.compiler === "cc" ? "_Static_assert" : "static_assert";
  const rows = Object.entries(build.members).flatMap(([type, members]) =>
    members.map((member) => {
      const key = `${type}.${member}`;
      return `${assertion}(offsetof(${cType(build, type)}, ${member}) == ${figures[key]}, "${key}");`;
    }),
  );
  const source = join(folder, build.compiler === "cc" ? "truth.c" : "truth.cc");
  await Bun.write(source, `${includes(build)}${rows.join("\n")}\n`);
  const target = ["-target", "aarch64-linux-gnu", "-w", "-c", "-o", "truth.o"];
  await zig([build.compiler, ...target, ...flags, source], { cwd: folder, cache });
}

if (import.meta.main) {
  const names = process.argv.slice(2);
  for (const name of names.length > 0 ? names : Object.keys(builds)) {
    const build = builds[name];
    if (build === undefined) throw new Error(`${name} is none of ${Object.keys(builds).join(", ")}`);
    const truth = await truthFile(build);
    await Bun.write(join(import.meta.dir, `${name}.json`), `${JSON.stringify(truth, null, 2)}\n`);
    console.error(`${name}: ${Object.keys(truth.figures).length} figures, the same on x86-64 and arm64`);
  }
}
