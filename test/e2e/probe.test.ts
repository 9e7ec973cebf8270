import { afterAll, beforeAll, describe, expect, test } from "bun:test";
import { readFileSync } from "node:fs";
import { loadPackage } from "../../assets/build/debian.ts";
import { loadLayouts } from "../../src/tls/layouts/layouts.ts";
import { type Truth, truthOf, truthOfPackage } from "../truth/read.ts";
import { documentOf, executable, run, Scratch } from "./executable.ts";
import { runIn, treeWith } from "./tree.ts";

/** A real library, to be asked in a tree with the C library it was built for: this machine's may be too old for it. */
interface Sample {
  readonly name: string;
  /** The file in test/truth; without it, it is that of the package's own version. */
  readonly truth?: string;
  readonly library: "openssl" | "boringssl";
  readonly path: string;
  /** The published group whose constants there are to be measured. */
  readonly group: string;
  /** Those of them that it does not have. */
  readonly absent?: readonly string[];
  /** What it needs, each of its suite. */
  readonly packages: Readonly<Record<string, readonly string[]>>;
}

const triple = "/usr/lib/x86_64-linux-gnu";
const zlib = ["zlib1g", "libzstd1"];
const cplusplus = ["libstdc++6", "libgcc-s1", "android-libboringssl"];
const samples: readonly Sample[] = [
  {
    name: "OpenSSL of Debian 11",
    group: "openssl_1_1_1j",
    library: "openssl",
    path: `${triple}/libssl.so.1.1`,
    packages: { bullseye: ["libc6", "libssl1.1"] },
  },
  {
    name: "OpenSSL of Debian 12",
    group: "openssl_3_0_0",
    library: "openssl",
    path: `${triple}/libssl.so.3`,
    packages: { bookworm: ["libc6", "libssl3"] },
  },
  {
    name: "OpenSSL of Debian 13",
    group: "openssl_3_5_0",
    library: "openssl",
    path: `${triple}/libssl.so.3`,
    packages: { trixie: ["libc6", ...zlib, "libssl3t64"] },
  },
  {
    name: "OpenSSL of Debian sid",
    group: "openssl_3_5_0",
    library: "openssl",
    path: `${triple}/libssl.so.3`,
    packages: { sid: ["libc6", ...zlib, "libssl3t64"] },
  },
  {
    name: "OpenSSL of Debian experimental",
    group: "openssl_3_5_0",
    library: "openssl",
    path: `${triple}/libssl.so.4`,
    packages: { sid: ["libc6", ...zlib], experimental: ["libssl4"] },
  },
  {
    name: "BoringSSL of Android 10",
    truth: "boringssl-10",
    group: "boringssl_a_10",
    library: "boringssl",
    path: `${triple}/android/libssl.so.0`,
    absent: ["BSSL__SSL_HANDSHAKE_HINTS"],
    packages: { bullseye: ["libc6", ...cplusplus] },
  },
  {
    name: "BoringSSL of Android 13",
    group: "boringssl_a_13",
    library: "boringssl",
    path: `${triple}/android/libssl.so.0`,
    packages: { bookworm: ["libc6", ...cplusplus] },
  },
  {
    name: "BoringSSL of Android 14",
    group: "boringssl_a_14",
    library: "boringssl",
    path: `${triple}/android/libssl.so.0`,
    packages: { trixie: ["libc6", ...cplusplus] },
  },
];

const trees = new Map<Sample, Scratch>();
beforeAll(async () => {
  for (const sample of samples) trees.set(sample, await treeWith(sample.packages));
});
afterAll(() => {
  for (const tree of trees.values()) tree[Symbol.dispose]();
});

const ask = (sample: Sample, ...flags: string[]) =>
  runIn(trees.get(sample)?.path ?? "", ["tls", ...flags, "--format", "json"]);

/** What the headers of that very version say; the library's own package is the last one. */
async function truthOfSample({ library, packages, truth }: Sample): Promise<Truth> {
  if (truth !== undefined) return truthOf(truth);
  const [suite = "", names = []] = Object.entries(packages).at(-1) ?? [];
  const { version } = await loadPackage(suite, names.at(-1) ?? "");
  return truthOfPackage(suite, library, version);
}

describe("the probe measures what the headers say", () => {
  test.each(samples)("$name", async (sample) => {
    const result = ask(sample, sample.path, "--source", "probe");
    const [report] = documentOf(result).tls ?? [];
    const truth = await truthOfSample(sample);
    const { absent = [] } = sample;
    // Only a table can tell that there is no such member: the probe has no way to ask.
    for (const constant of absent)
      expect(report?.fields[constant]?.reason).toContain("probe: it has no SSL_set");
    const measured = Object.entries(report?.fields ?? {})
      .filter(([constant]) => !absent.includes(constant))
      .map(([constant, field]) => [
        constant,
        field.member,
        field.status,
        ...(field.evidence.probe ?? [field.reason]),
      ]);
    expect(measured).toEqual(
      measured.map(([constant, member]) => [constant, member, "single", truth[String(member)] ?? -1]),
    );
    const published = (await loadLayouts(sample.library))?.groups[sample.group]?.constants ?? {};
    const unpublished = {
      openssl: ["SSL_SESSION_ST_MASTER_KEY_LENGTH"],
      boringssl: [
        "SSL_SESSION_ST_SSL_VERSION",
        ...["CLIENT", "SERVER"].map((end) => `BSSL__SSL3_STATE_${end}_TRAFFIC_SECRET_0`),
      ],
    }[sample.library];
    expect([...measured.map(([constant]) => constant), ...absent].sort()).toEqual(
      [...Object.keys(published), ...unpublished, "SSL_CTX_ST_KEYLOG_CALLBACK"].sort(),
    );
    expect(result.status).toBe(absent.length === 0 ? 0 : 3);
  });
});

describe("without any option each is found, named and laid out", () => {
  test.each(samples)("$name", async (sample) => {
    const result = ask(sample);
    const { tls, diagnostics } = documentOf(result);
    const [report, ...others] = tls ?? [];
    expect(others).toEqual([]);
    expect(report).toMatchObject({ path: sample.path, library: sample.library });
    const truth = await truthOfSample(sample);
    expect(diagnostics.filter(({ code }) => code === "W_TLS_PROBE")).toEqual([]);
    for (const [constant, { member, status, value, evidence }] of Object.entries(report?.fields ?? {})) {
      // Headers without such a member agree.
      if (sample.absent?.includes(constant) || (status === "absent" && truth[member] === undefined)) {
        expect({ constant, status, value }).toEqual({ constant, status: "absent", value: null });
        continue;
      }
      expect({ constant, value }).toEqual({ constant, value: truth[member] ?? -1 });
      // Some have no function that the probe could ask.
      expect(evidence.probe ?? evidence.references ?? evidence.table).toEqual([value ?? -1]);
      expect(["confirmed", "single"]).toContain(status);
    }
    expect(result.status).toBe(0);
  });
});

test("a parent with inheritable capabilities, as older container runtimes make them, hands none to the child", () => {
  const path = "/usr/lib/x86_64-linux-gnu/libssl.so.3";
  const command = [executable, "tls", path, "--source", "probe", "--format", "json"];
  const { tls, diagnostics } = documentOf(
    run(["setpriv", "--inh-caps", "+sys_admin,+net_admin", ...command]),
  );
  expect(diagnostics.filter(({ code }) => code === "W_TLS_PROBE")).toEqual([]);
  expect(tls?.[0]?.fields.BIO_ST_NUM?.evidence.probe).toEqual([
    truthOf("openssl-3.0.20")["bio_st.num"] ?? -1,
  ]);
});

test("the runtime is started once in a child, by what has one thread when it leaves the namespaces", () => {
  const path = "/usr/lib/x86_64-linux-gnu/libssl.so.3";
  using scratch = new Scratch();
  const trace = ["strace", "-f", "-qq", "-o", scratch.at("trace")];
  run([...trace, executable, "tls", path, "--source", "probe", "--format", "json"]);
  const calls = readFileSync(scratch.at("trace"), "utf8")
    .split("\n")
    .map((line) => /^(\d+)\s+(\w+)\((.*)/.exec(line)?.slice(1) ?? []);
  const starts = calls.filter(([, call, what]) => call === "execve" && what?.includes('"@child"'));
  expect(starts.length).toBe(1);
  const [pid] = starts[0] ?? [];
  const all = calls.filter(([by]) => by === pid);
  const own = all.slice(all.findIndex(([, , what]) => what?.includes('"@child"')));
  const left = own.flatMap(([, call, what]) => (call === "unshare" ? [/^\w+/.exec(what ?? "")?.[0]] : []));
  expect(left).toEqual(["CLONE_NEWNET", "CLONE_NEWNS", "CLONE_NEWIPC", "CLONE_NEWUTS", "CLONE_NEWPID"]);
  const begun = own.filter(([, call]) => /^(clone3?|v?fork)$/.test(call ?? ""));
  expect(begun.map(([, , what]) => what?.includes("CLONE_THREAD"))).toEqual([false]);
});
