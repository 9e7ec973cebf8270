import { expect, test } from "bun:test";
import { realpathSync } from "node:fs";
import { basename, join } from "node:path";
import { loadPackage } from "../../assets/build/debian.ts";
import { documentOf, errorOf, executable, run, Scratch } from "./executable.ts";

const linked = () =>
  realpathSync(/libssl\S+ => (\S+)/.exec(run(["ldd", "/usr/bin/openssl"]).stdout)?.[1] ?? "");
const tlsOf = (...args: string[]) => documentOf(run([executable, "tls", ...args])).tls ?? [];

test("a path is relative to the working directory", () => {
  const library = linked();
  const cwd = library.slice(0, -basename(library).length);
  const result = run([executable, "tls", `./${basename(library)}`], { cwd });
  expect(documentOf(result).tls?.map((one) => one.path)).toEqual([library]);
  expect([0, 3]).toContain(result.status);
  expect(tlsOf("--", library).length).toBe(1);
});

test("a path without a TLS library ends with 3 and says why", () => {
  const result = run([executable, "tls", "/bin/true"]);
  expect(result.status).toBe(3);
  expect(documentOf(result).tls).toEqual([]);
  expect(documentOf(result).diagnostics).toContainEqual({
    code: "E_TLS_PATH",
    message: "/bin/true: no TLS library is inside, and none that it links was found",
  });
});

test("a TLS library that is not supported ends with 3 and is named, in every format", async () => {
  const { root } = await loadPackage("bookworm", "libnss3");
  const library = join(root, "usr/lib/x86_64-linux-gnu/libssl3.so");
  const told = /NSS 3\.\S+: not supported$/;
  const result = run([executable, "tls", library]);
  expect(result.status).toBe(3);
  expect(documentOf(result).diagnostics).toContainEqual({
    code: "E_TLS_UNSUPPORTED",
    message: expect.stringMatching(told),
  });
  const env = run([executable, "tls", library, "--format", "env"]);
  expect(env.status).toBe(3);
  expect(env.stderr).toContain(`E_TLS_UNSUPPORTED ${library}: NSS 3.`);
  for (const text of ["LibreSSL 3.8.2", "aws-lc 1.30.0", "Tongsuo 8.4.0"]) {
    const named = run([executable, "tls", "--version-text", text]);
    expect([text, named.status]).toEqual([text, 3]);
    expect(named.stdout).toContain(`${text.replace("aws-lc", "AWS-LC")}: not supported`);
  }
});

test("--pid reports the library of that process alone", () => {
  const script = `sleep 600 | openssl base64 & until pid=$(pidof -s openssl) && grep -q libssl /proc/$pid/maps; do :; done
    echo $pid; exec ${executable} tls --pid $pid`;
  const result = run(["unshare", "--pid", "--fork", "--mount-proc", "bash", "-c", script]);
  const [pid = "", ...json] = result.stdout.split("\n");
  const { tls } = documentOf({ ...result, stdout: json.join("\n") });
  expect(tls).toMatchObject([{ path: linked(), used_by: [Number(pid)] }]);
});

test("--pid: where that process's library may not be opened, nothing known is no success", () => {
  using scratch = new Scratch();
  const hidden = scratch.at("hidden");
  const script = `install -d -m 700 -o nobody ${hidden}; install -o nobody ${linked()} ${hidden}/libssl.so.3; chmod 711 ${scratch.path}
    LD_PRELOAD=${hidden}/libssl.so.3 setpriv --reuid=nobody --clear-groups sleep 600 & pid=$!
    until grep -q ${hidden} /proc/$pid/maps; do :; done
    setpriv --bounding-set=-dac_override,-dac_read_search,-sys_admin,-checkpoint_restore ${executable} tls --pid $pid`;
  const result = run(["unshare", "--pid", "--fork", "--mount-proc", "bash", "-c", script]);
  expect(result.status).toBe(3);
  const { tls, diagnostics } = documentOf(result);
  expect(tls).toEqual([]);
  expect(diagnostics).toContainEqual({
    code: "E_TLS_DENIED",
    message: expect.stringContaining("may not be looked at"),
  });
});

test("--version-text answers from the table, suffix and all, and looks at no library", () => {
  const [plain] = tlsOf("--version-text", "openssl 3.0.10");
  expect(plain).toMatchObject({ path: null, version: "3.0.10", layout: "openssl_3_0_0", match: "exact" });
  const [quic] = tlsOf("--version-text=OpenSSL 1.1.1u+quic  1 Aug 2023");
  expect(quic).toMatchObject({ version: "1.1.1u+quic", match: "nearest" });
  expect(quic?.constants).toMatchObject({ SSL_ST_SESSION: null, SSL_ST_RBIO: 16 });
  const [library] = tlsOf(linked());
  const [same] = tlsOf("--version-text", run(["openssl", "version"]).stdout.trim());
  expect(same?.layout).toBe(library?.layout ?? "");

  using scratch = new Scratch();
  const trace = scratch.at("trace");
  run([
    "strace",
    "-f",
    "-e",
    "trace=openat",
    "-o",
    trace,
    executable,
    "tls",
    "--version-text",
    "openssl 3.0.12",
  ]);
  const opened = run(["cat", trace]).stdout;
  expect(opened).toContain("/proc/version");
  expect(opened).not.toMatch(/libssl|libcrypto|ld\.so\.conf|\/proc\/\d+\/maps/);
});

test.each([
  [["--pid", "x"], "--pid cannot be"],
  [["--pid", "0"], "--pid cannot be"],
  [["--pid=1", "/bin/true"], "one of PATH, --pid, --all, --version-text and --constants"],
  [["--all", "--pid", "1"], "one of PATH, --pid, --all, --version-text and --constants"],
  [["--version-text", "3.0.12"], 'such as "openssl 3.0.12"'],
  [["--version-text", "nss 3.0.12"], 'such as "openssl 3.0.12"'],
  [["--al"], 'did you mean "--all"?'],
  [["--path", "/bin/true"], 'unknown flag "--path"'],
  [[""], 'unexpected argument ""'],
])("tls %p is wrong usage", (args, message) => {
  const result = run([executable, "tls", ...args]);
  expect(result).toMatchObject({ status: 2, stdout: "" });
  expect(errorOf(result).message).toContain(message);
});

test("other commands still take no path and none of these flags", () => {
  for (const args of [["kernel", "/bin/true"], ["run", "--pid", "1"], ["--all"]]) {
    expect(run([executable, ...args]).status).toBe(2);
  }
});

test("a document longer than a pipe holds reaches a slow reader whole", () => {
  using scratch = new Scratch();
  const copies = Array.from({ length: 30 }, (_, index) => scratch.at(`libssl.so.3.${index}`));
  for (const copy of copies) run(["cp", linked(), copy]);
  const command = `${executable} tls ${copies.join(" ")} | { sleep 0.5; cat; }`;
  const result = run(["bash", "-c", command]);
  expect(result.stdout.length).toBeGreaterThan(100_000);
  expect(documentOf(result).tls?.length).toBe(30);
});

test("progress is for terminals: one line, taken back when it is done, none under --quiet", () => {
  // The walk over all programs takes long enough to show one.
  const onTerminal = (flags: string) =>
    run([
      "script",
      "-qec",
      `${executable} tls --all --source table --format json ${flags} > /dev/null`,
      "/dev/null",
    ]).stdout;
  const eraseLine = "\r\x1b[K";
  const shown = onTerminal("").split(eraseLine);
  expect(shown.length).toBeGreaterThan(2);
  expect([shown[0], shown.at(-1)]).toEqual(["", ""]);
  // Where one thing takes long on a busy machine, that is told as well.
  for (const line of shown.filter((text) => text !== ""))
    expect(line).toMatch(/^\d+ of \d+ (files looked into|libraries)$|^\d+ s: /);
  for (const what of ["files looked into", "libraries"])
    expect(shown.some((line) => line.endsWith(what))).toBe(true);
  expect(onTerminal("--quiet")).toBe("");
});

test("verify tls tells on a terminal how long it has watched a process", () => {
  using scratch = new Scratch();
  run(["touch", scratch.at("keys")]);
  const watched = (keylog: string) =>
    `sleep 600 | openssl base64 > /dev/null & until pid=$(pgrep -n -P $$ openssl) && grep -q libssl /proc/$pid/maps; do :; done
    ${executable} verify tls --pid $pid --against ${keylog} --seconds 2 > /dev/null; kill $pid`;
  const onTerminal = (keylog: string) =>
    run(["script", "-qec", `bash -c '${watched(keylog)}'`, "/dev/null"]).stdout;
  const [first, ...lines] = onTerminal(scratch.at("keys")).split("\r\x1b[K");
  expect([first, lines.pop()]).toEqual(["", ""]);
  // A busy machine shows the looking as well, and may be late for a second.
  const watching = lines.filter((line) => !/^$|looked into$|libraries$|^\d+ s: /.test(line));
  expect(watching.length).toBeGreaterThan(0);
  for (const line of watching) expect(line).toMatch(/^[01] of 2 seconds watched$/);
  // An error on a terminal is as plain.
  expect(onTerminal("/dev/null")).toMatch(/^\{"code":"E_.*\/dev\/null.*\}\r\n$/);
});
