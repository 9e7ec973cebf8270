import { afterAll, describe, expect, test } from "bun:test";
import { chmodSync, copyFileSync, mkdirSync, writeFileSync } from "node:fs";
import { basename, join } from "node:path";
import * as v from "valibot";
import { kernelFields } from "../../src/kernel/fields/fields.ts";
import { configDocumentSchema } from "../../src/output/config-schema.ts";
import { jsonOf } from "../schema.ts";
import { documentOf, errorOf, executable, type Run, run, Scratch } from "./executable.ts";
import { type Held, heldBy, stillThere } from "./held.ts";

const scratch = new Scratch();
afterAll(() => scratch[Symbol.dispose]());

/** Writes a file that belongs to this user alone. */
function file(name: string, content: string, mode = 0o644): string {
  const path = scratch.at(name);
  writeFileSync(path, content);
  chmodSync(path, mode); // the umask must not decide
  return path;
}

const ask = [executable, "config"];
const configOf = (result: Run) => v.parse(configDocumentSchema, jsonOf("config", result.stdout)).config;
const refusalOf = (result: Run) => ({ status: result.status, stdout: result.stdout, ...errorOf(result) });

/** Runs a command where /etc holds one file, offsetof.json. */
const withEtc = (path: string, command: readonly string[], env: Record<string, string> = {}): Run => {
  const script = 'mount -t tmpfs -o mode=755 none /etc && cp -p "$0" /etc/offsetof.json && exec "$@"';
  return run(["unshare", "--mount", "sh", "-c", script, path, ...command], { env });
};

describe("offsetof config", () => {
  test("each value comes from the strongest origin that has it", () => {
    const etc = file("etc.json", '{"threshold": 11, "retries": 11, "deadline": 11, "source": ["btf"]}');
    const env = { OFFSETOF_THRESHOLD: "22", OFFSETOF_RETRIES: "22", OFFSETOF_DEADLINE: "" };
    const config = configOf(withEtc(etc, [...ask, "--threshold", "33"], env));
    expect(config.threshold).toEqual({ value: 33, from: "--threshold" });
    expect(config.retries).toEqual({ value: 22, from: "OFFSETOF_RETRIES" });
    expect(config.deadline).toEqual({ value: 11, from: "/etc/offsetof.json" });
    expect(config.source).toEqual({ value: ["btf"], from: "/etc/offsetof.json" });
    expect(config.proc_root).toEqual({ value: "/proc", from: "default" });
  });

  test("--config takes the place of /etc/offsetof.json", () => {
    const etc = file("etc.json", '{"threshold": 11, "retries": 11}');
    const other = file("other.json", '{"threshold": 44}');
    const config = configOf(withEtc(etc, [...ask, "--config", other]));
    expect(config.threshold).toEqual({ value: 44, from: other });
    expect(config.retries?.from).toBe("default");
  });

  test("jq reads the settings as JSON", () => {
    const pipe = `${executable} config --stability-window 250 | jq -r .config.stability_window.value`;
    expect(run(["sh", "-c", pipe])).toEqual({ status: 0, stdout: "250\n", stderr: "" });
  });

  test("a table for people has the same settings", () => {
    const { stdout } = run([...ask, "--format", "table", "--source", "guess,btf"]);
    expect(stdout).toMatch(
      /^SETTING +VALUE +FROM\nstrategy +snapshot +default\nbytecode +auto +default\nsource +guess,btf +--source\n/,
    );
  });

  test("a user's own configuration file is good for that user, and refused for root", () => {
    using theirs = new Scratch();
    copyFileSync(executable, theirs.at("offsetof"));
    writeFileSync(theirs.at("own.json"), '{"retries": 5}');
    run(["chown", "-R", "65534", theirs.path]);
    const command = [theirs.at("offsetof"), "config", "--config", theirs.at("own.json")];
    const nobody = ["setpriv", "--reuid=65534", "--regid=65534", "--clear-groups", ...command];
    expect(configOf(run(nobody)).retries).toEqual({ value: 5, from: theirs.at("own.json") });
    // Root would not read what that user can change at any time.
    expect(refusalOf(run(command))).toMatchObject({ status: 2, stdout: "", code: "E_CONFIG" });
  });
});

describe("a bad configuration ends every command with 2 and says where", () => {
  test.each<[name: string, content: string, mode: number, message: string]>([
    ["unknown", '{"treshold": 1}', 0o644, 'unknown key "treshold", did you mean "threshold"?'],
    ["type", '{"collect_udpv6": "no"}', 0o644, 'collect_udpv6 cannot be "no": true or false'],
    ["range", '{"deadline": 0}', 0o644, "deadline cannot be 0: 1 to 3600000 milliseconds"],
    ["syntax", '{\n  "retries": 1\n  "deadline": 1\n}', 0o644, 'line 3, column 3: "," or "}" expected'],
    ["open", "{}", 0o666, "can be written by group or others"],
  ])("%s", (name, content, mode, message) => {
    const path = file(`${name}.json`, content, mode);
    for (const command of ["config", "run", "kernel", "tls"]) {
      const refusal = refusalOf(run([executable, command, "--config", path]));
      expect(refusal).toMatchObject({ status: 2, stdout: "", code: "E_CONFIG" });
      expect(refusal.message).toStartWith(path);
      expect(refusal.message).toContain(message);
    }
    const usual = refusalOf(withEtc(path, ask));
    expect(usual).toMatchObject({ status: 2, code: "E_CONFIG" });
    expect(usual.message).toStartWith("/etc/offsetof.json");
  });

  test("variables and flags are named as they were given", () => {
    expect(refusalOf(run(ask, { env: { OFFSETOF_PROC_ROOT: "host" } }))).toMatchObject({
      status: 2,
      message: 'OFFSETOF_PROC_ROOT cannot be "host": an absolute path',
    });
    expect(refusalOf(run([...ask, "--collect-tcpv6=off"]))).toMatchObject({
      status: 2,
      message: '--collect-tcpv6 cannot be "off": true or false',
    });
    expect(refusalOf(run([...ask, "--config", "/nonexistent.json"]))).toMatchObject({
      status: 2,
      message: "/nonexistent.json is not there; --config needs a file",
    });
  });

  test("a file that is no JSON is not quoted: it may be a secret that was named by mistake", () => {
    const { stderr } = run([...ask, "--config", file("secret", "root:$6$hash:19000:0:99999:7:::\n")]);
    expect(stderr).toContain("line 1, column 1");
    expect(stderr).not.toContain("hash");
  });
});

describe("settings at work", () => {
  /** The bpf(2) and unshare(2) calls of a run. */
  const calls = (...args: string[]): { loads: boolean; unshares: boolean } => {
    const { stderr } = run(["strace", "-f", "-e", "trace=bpf,unshare", executable, "kernel", ...args]);
    return { loads: stderr.includes("BPF_PROG_LOAD"), unshares: stderr.includes("unshare(") };
  };

  test("--source btf loads no program, makes no namespace, and misses nothing", () => {
    expect(calls()).toEqual({ loads: true, unshares: true });
    expect(calls("--source", "btf")).toEqual({ loads: false, unshares: false });
    const result = run([executable, "kernel", "--source", "btf"]);
    const { kernel, diagnostics } = documentOf(result);
    expect(result.status).toBe(0);
    expect(diagnostics.filter(({ code }) => code.startsWith("E_"))).toEqual([]);
    for (const { constant } of kernelFields) {
      expect(kernel?.fields[constant]).toMatchObject({
        status: "single",
        evidence: { btf: [expect.any(Number)] },
      });
      expect(kernel?.fields[constant]?.evidence.guess).toBeUndefined();
    }
  });

  test("a source that may not speak is the reason, where no other does", () => {
    const { kernel } = documentOf(run([executable, "kernel", "--source", "table"]));
    expect(kernel?.fields.offset_rtt).toMatchObject({
      value: null,
      reason: "guess: not among the sources that may speak; btf: not among the sources that may speak",
    });
    // Processes may use other libraries too: the one that the machine has is a program's of ours.
    const library = documentOf(run([executable, "tls", "--source", "guess", "/usr/bin/openssl"])).tls?.[0];
    expect(library).toMatchObject({ layout: null, match: null, version: expect.any(String) });
    expect(Object.values(library?.fields ?? {})[0]?.reason).toBe(
      "table: not among the sources that may speak",
    );
  });

  const guessed = (...args: string[]) =>
    documentOf(run([executable, "kernel", "--source", "guess", ...args])).kernel?.constants ?? {};

  test("what is not to be collected is not known, and the rest is still true", () => {
    const { constants = {} } = documentOf(run([executable, "kernel", "--source", "btf"])).kernel ?? {};
    const without4 = guessed("--collect-tcpv4", "false");
    const without6 = guessed("--collect-tcpv6", "false");
    for (const known of [without4, without6]) {
      for (const { constant } of kernelFields) {
        const value = known[constant] ?? null;
        if (value !== null) expect([constant, value]).toEqual([constant, constants[constant] ?? -1]);
      }
    }
    expect(without4).toMatchObject({ tcpv6_enabled: 1, fl4_offsets: null, fl6_offsets: 1 });
    expect(without6).toMatchObject({ tcpv6_enabled: 0, fl4_offsets: 1, fl6_offsets: null });
    expect(without4).toMatchObject({
      offset_daddr: null,
      offset_daddr_ipv6: constants.offset_daddr_ipv6 ?? -1,
    });
    expect(without6).toMatchObject({ offset_daddr: constants.offset_daddr ?? -1, offset_daddr_ipv6: null });
    const none = guessed("--collect-tcpv4", "false", "--collect-tcpv6", "false");
    // Packets and conntrack entries need no TCP.
    for (const { constant, struct } of kernelFields) {
      if (struct === "sock" || struct === "flowi4" || struct === "flowi6")
        expect([constant, none[constant]]).toEqual([constant, null]);
      else if (none[constant] !== null) expect(none[constant]).toBe(constants[constant] ?? -1);
    }
  });

  test("the stability window is the pause between two readings", () => {
    /** How often the kernel was asked to wait for so many microseconds. */
    const pauses = (window: number): number => {
      const command = [executable, "kernel", "--stability-window", String(window)];
      const { stderr } = run(["strace", "-f", "-e", "trace=nanosleep,clock_nanosleep", ...command]);
      return stderr.split(`{tv_sec=0, tv_nsec=${window * 1000}}`).length - 1;
    };
    expect(pauses(20_000)).toBeGreaterThan(3);
    expect(pauses(12_345)).toBeGreaterThan(3);
  });

  test("--proc-root has processes read there, and libraries looked for in the tree of its first process", () => {
    const [library] = documentOf(run([executable, "tls", "/usr/bin/openssl"])).tls ?? [];
    if (library?.path == null) throw new Error("this machine has no libssl");
    using host = new Scratch();
    const [proc, tree] = [host.at("proc"), host.at("proc/1/root")];
    const copy = join(tree, "usr/lib", basename(library.path));
    for (const folder of [join(proc, "sys/kernel"), join(tree, "usr/lib")]) {
      mkdirSync(folder, { recursive: true });
    }
    writeFileSync(join(proc, "sys/kernel/osrelease"), "6.6.6-elsewhere\n");
    copyFileSync(library.path, copy);
    const document = documentOf(run([executable, "tls", "--proc-root", proc]));
    expect(document.host.kernel.release).toBe("6.6.6-elsewhere");
    expect(document.tls?.map(({ path, build_id }) => ({ path, build_id }))).toEqual([
      { path: `/usr/lib/${basename(library.path)}`, build_id: library.build_id },
    ]);
  });

  test("a proc root without a first process is an error, not a machine without libraries", () => {
    const result = run([executable, "tls", "--proc-root", "/nonexistent"]);
    expect(result.status).toBe(3);
    expect(documentOf(result).diagnostics).toContainEqual({
      code: "E_TLS_ROOT",
      message: "/nonexistent/1/root is not there",
    });
  });
});

describe("the deadline", () => {
  const late = (milliseconds: number) =>
    expect.stringMatching(
      new RegExp(`^not done after ${milliseconds} ms: \\d+ of them for .+; allow more with --deadline$`),
    );

  test("of 1 ms is over before any run is done", () => {
    for (const command of ["run", "kernel", "tls"]) {
      const result = run([executable, command, "--deadline", "1"]);
      // By the time that the other thread is there, some may be known.
      const told =
        result.status === 1 ? errorOf(result) : (documentOf(result).diagnostics.at(-1) ?? "nothing");
      expect(told).toEqual({ code: "E_DEADLINE", message: late(1) });
      expect(result.status).toBe(result.stdout === "" ? 1 : 3);
    }
  });

  test("ends a run whose main thread the kernel holds in open(2)", () => {
    using host = new Scratch();
    mkdirSync(host.at("sys/kernel"), { recursive: true });
    run(["mkfifo", host.at("sys/kernel/osrelease")]); // nobody will ever write to it
    const command = [executable, "--proc-root", host.path, "--deadline", "300"];
    const at = host.at("sys/kernel/osrelease");
    const message = expect.stringMatching(new RegExp(` 300 ms: \\d+ of them for ${at}; `));
    expect(refusalOf(run(command))).toEqual({ status: 1, stdout: "", code: "E_DEADLINE", message });
    const table = run([...command, "--format", "table"]);
    expect(table.stderr).toStartWith("offsetof: not done after 300 ms: ");
  });

  test("leaves nothing when it falls into the guess", async () => {
    // Each pause between two readings is a second: programs and namespaces are in use then. A busy machine may not have
    // come that far, and is given more.
    const fallsIn = async (deadline: number) => {
      const command = [executable, "kernel", "--stability-window", "1000000", "--deadline", `${deadline}`];
      const child = Bun.spawn(command, { stdin: "ignore", stdout: "pipe", stderr: "ignore" });
      const held = new Map<string, Held>();
      for (; child.exitCode === null; await Bun.sleep(10))
        for (const one of heldBy(child.pid)) held.set(`${one.kind} ${one.id}`, one);
      return { held: [...held.values()], status: child.exitCode, document: await child.stdout.json() };
    };
    let fallen = await fallsIn(900);
    for (let deadline = 1800; fallen.held.length === 0; deadline *= 2) fallen = await fallsIn(deadline);
    expect(fallen.status).toBe(3);
    expect(fallen.document).not.toHaveProperty("kernel");
    expect(fallen.document.diagnostics).toContainEqual({ code: "E_DEADLINE", message: expect.anything() });
    expect(fallen.held.map(({ kind }) => kind)).toContain("prog");
    expect(await stillThere(fallen.held)).toEqual([]);
  });

  test("that is kept changes nothing", () => {
    const { status, stderr } = run([executable, "kernel", "--deadline", "3600000"]);
    expect(stderr).toBe("");
    expect(status).toBe(run([executable, "kernel"]).status);
  });
});
