import { afterAll, beforeAll, describe, expect, test } from "bun:test";
import {
  copyFileSync,
  mkdirSync,
  readdirSync,
  readFileSync,
  readlinkSync,
  symlinkSync,
  writeFileSync,
} from "node:fs";
import { basename, join } from "node:path";
import * as v from "valibot";
import { detectDocumentSchema } from "../../src/output/detect-schema.ts";
import { jsonOf } from "../schema.ts";
import { until } from "../until.ts";
import { documentOf, errorOf, executable, type Run, repository, run, Scratch } from "./executable.ts";

/** A folder of the dynamic linker's search path on every Linux. */
const linkers = "/usr/local/lib";

let scratch: Scratch;
let program: string;
let library: string;

beforeAll(() => {
  scratch = new Scratch();
  program = scratch.at("server");
  const source = join(repository, "test/server.c");
  const compiled = run(["gcc", "-Wall", "-Wextra", "-Werror", "-O1", "-o", program, source]);
  if (compiled.status !== 0) throw new Error(compiled.stderr);
  const own = documentOf(run([executable, "tls"])).tls?.find(({ path }) => path?.endsWith("/libssl.so.3"));
  library = own?.path ?? "";
});
afterAll(() => scratch[Symbol.dispose]());

/** A file system on a folder, which only a mount namespace of its own sees, with a server that falls silent when it is told. */
class Served implements Disposable {
  readonly #server: Bun.Subprocess<"ignore", "pipe", "inherit">;
  readonly #users: Bun.Subprocess[] = [];

  private constructor(folder: string, files: readonly string[], user: number) {
    const command = ["unshare", "--mount", "--propagation", "private", program, folder, ...files];
    const env = { ...process.env, SERVER_USER: String(user) };
    this.#server = Bun.spawn(command, { env, stdin: "ignore", stdout: "pipe", stderr: "inherit" });
  }

  static async on(folder: string, files: readonly string[] = [], user = 0): Promise<Served> {
    const served = new Served(folder, files, user);
    const { value } = await served.#server.stdout.getReader().read();
    if (new TextDecoder().decode(value) !== "up\n") throw new Error("the server did not come up");
    return served;
  }

  /** From now on nothing is answered. */
  die(): void {
    this.#server.kill("SIGUSR1");
  }

  inside(command: readonly string[]): readonly string[] {
    return ["nsenter", "--mount", `--target=${this.#server.pid}`, ...command];
  }

  run(...args: readonly string[]): Run {
    return run(this.inside([executable, ...args]));
  }

  /** A process of the namespace that has a library mapped. */
  async mapping(path: string): Promise<Bun.Subprocess> {
    const command = this.inside(["sh", "-c", 'LD_PRELOAD="$0" exec sleep 1000', path]);
    const user = Bun.spawn([...command], { stdin: "ignore", stdout: "ignore" });
    this.#users.push(user);
    await until(() => run(["grep", "-c", basename(path), `/proc/${user.pid}/maps`]).status === 0);
    return user;
  }

  [Symbol.dispose](): void {
    this.#server.kill("SIGKILL");
    for (const user of this.#users) user.kill("SIGKILL");
  }
}

const kernelOf = (result: Run) => documentOf(result).kernel?.constants;
const ofSystem = (result: Run) => documentOf(result).tls?.find(({ path }) => path === library)?.constants;
const told = (result: Run, code: string): readonly string[] =>
  documentOf(result)
    .diagnostics.filter((one) => one.code === code)
    .map(({ message }) => message);

describe("a mount whose server does not answer", () => {
  test("below a folder of the linker's costs that folder alone", async () => {
    using served = await Served.on(linkers);
    const quiet = served.run("run");
    served.die();
    const result = served.run("run");
    expect(result.status).toBe(3);
    expect(kernelOf(result)).toEqual(kernelOf(quiet));
    expect(ofSystem(result)).toEqual(ofSystem(quiet));
    expect(told(result, "E_TLS_MOUNT")).toEqual([
      `the server of the mount ${linkers} (fuse.server) does not answer; not looked at: ${linkers}`,
    ]);
    expect(told(result, "E_DEADLINE")).toEqual([]);
    expect(ofSystem(served.run("tls", library))).toEqual(ofSystem(quiet));
    const detected = served.run("detect");
    expect(detected.status).toBe(3);
    const { detect, diagnostics } = v.parse(detectDocumentSchema, jsonOf("detect", detected.stdout));
    expect(detect.tls.map(({ path }) => path)).toContain(library);
    expect(diagnostics.map(({ code }) => code)).toContain("E_TLS_MOUNT");
  });

  test("below a path that was named is the reason why it is not read", async () => {
    using served = await Served.on(linkers, [library]);
    served.die();
    const path = `${linkers}/${basename(library)}`;
    const result = served.run("tls", path);
    expect(result.status).toBe(3);
    const reason = `the server of the mount ${linkers} (fuse.server) does not answer`;
    expect(told(result, "E_TLS_PATH")).toEqual([`${path}: ${reason}`]);
  });

  test("below a library that a process has mapped costs that library, also where only that process sees it", async () => {
    const copy = scratch.at("libssl.so.4");
    copyFileSync(library, copy);
    const folder = scratch.at("mapped");
    mkdirSync(folder);
    using served = await Served.on(folder, [copy]);
    const path = `${folder}/libssl.so.4`;
    const user = await served.mapping(path);
    const found = documentOf(run([executable, "tls"])).tls?.find(({ path: one }) => one === path);
    expect(found?.used_by).toEqual([user.pid]);
    served.die();
    for (const result of [run([executable, "tls"]), served.run("tls")]) {
      expect(result.status).toBe(3);
      expect(ofSystem(result)).toBeDefined();
      expect(documentOf(result).tls?.map(({ path: one }) => one)).not.toContain(path);
      const [message, ...more] = told(result, "E_TLS_MOUNT");
      expect(more).toEqual([]);
      expect(message).toContain(`${folder} (fuse.server) does not answer; not looked at: ${path}`);
    }
  });

  test("below a file that is read before the deadline begins ends the run at once", async () => {
    const copy = scratch.at("settings.json");
    writeFileSync(copy, '{"threshold": 500}');
    const folder = scratch.at("settings");
    mkdirSync(folder);
    using served = await Served.on(folder, [copy]);
    const path = `${folder}/settings.json`;
    served.die();
    for (const args of [
      ["config", "--config", path],
      ["run", `--config=${path}`],
      ["verify", "kernel", "--constants", path],
      ["verify", "tls", "--pid", "1", "--against", path],
    ]) {
      const result = served.run(...args, "--format", "json");
      expect({ status: result.status, stdout: result.stdout }).toEqual({ status: 1, stdout: "" });
      const reason = `the server of the mount ${folder} (fuse.server) does not answer`;
      expect(errorOf(result)).toMatchObject({ code: "E_MOUNT", message: `${path} is not read: ${reason}` });
    }
  });

  test("holds one process that asked it, not one more with each run", async () => {
    const folder = scratch.at("held-up");
    mkdirSync(folder);
    const copy = scratch.at("libssl.so.6");
    copyFileSync(library, copy);
    using served = await Served.on(folder, [copy]);
    const asking = (): readonly string[] =>
      readdirSync("/proc").filter((pid) => {
        try {
          const words = readFileSync(`/proc/${pid}/cmdline`, "utf8").split("\0");
          if (!words.includes("@ask") || readlinkSync(`/proc/${pid}/exe`) !== executable) return false;
          return readFileSync(`/proc/${pid}/fd/0`, "utf8").includes(folder);
        } catch {
          return false; // no process, or gone
        }
      });
    const path = `${folder}/libssl.so.6`;
    await served.mapping(path);
    served.die();
    const [first, ...more] = [served.run("tls"), served.run("tls"), served.run("tls", path)];
    const left = asking();
    expect(left.length).toBe(1);
    expect(told(first, "E_TLS_MOUNT")).toEqual([
      expect.stringContaining(`${folder} (fuse.server) does not answer`),
    ]);
    expect(more.map(({ status }) => status)).toEqual([3, 3]);
    expect(told(more[0] ?? first, "E_TLS_MOUNT")).toEqual(told(first, "E_TLS_MOUNT"));
    served[Symbol.dispose]();
    await until(() => asking().length === 0);
  });

  test("that nothing of the run lies on is no matter", async () => {
    const folder = scratch.at("aside");
    mkdirSync(folder);
    using served = await Served.on(folder);
    served.die();
    expect(told(served.run("tls"), "E_TLS_MOUNT")).toEqual([]);
  });
});

test("what a program of another user serves is not touched, though it answers now", async () => {
  const copy = scratch.at("libssl.so.5");
  copyFileSync(library, copy);
  const folder = scratch.at("foreign");
  mkdirSync(folder);
  using served = await Served.on(folder, [copy], 1234);
  const path = `${folder}/libssl.so.5`;
  await served.mapping(path);
  const reason = "(fuse.server) is a program of user 1234, which could hold this run for ever";
  for (const result of [run([executable, "tls"]), served.run("tls")]) {
    expect(ofSystem(result)).toBeDefined();
    expect(documentOf(result).tls?.map(({ path: one }) => one)).not.toContain(path);
    expect(told(result, "E_TLS_MOUNT")).toEqual([
      expect.stringContaining(`${folder} ${reason}; not looked at: `),
    ]);
  }
  expect(told(served.run("tls", path), "E_TLS_PATH")).toEqual([
    `${path}: the server of the mount ${folder} ${reason}`,
  ]);
});

describe("a run that the kernel holds", () => {
  // The maps of this host's first process never end: nobody writes to that FIFO.
  let held: string;
  const command = ["--deadline", "3000"];
  const late = /^not done after 3000 ms: \d+ of them for process 1; allow more with --deadline$/;

  beforeAll(() => {
    held = scratch.at("proc");
    mkdirSync(join(held, "1"), { recursive: true });
    symlinkSync("/", join(held, "1/root"));
    run(["mkfifo", join(held, "1/maps")]);
  });
  const holding = (...args: readonly string[]): Run =>
    run([executable, ...args, "--proc-root", held, ...command]);

  test("costs what was not reached by the deadline, and what held it is named", () => {
    const result = holding("run");
    expect(result.status).toBe(3);
    expect(result.stderr).toBe("");
    expect(told(result, "E_DEADLINE")).toEqual([expect.stringMatching(late)]);
    const whole = run([executable, "kernel", "--proc-root", held]);
    expect(kernelOf(result)).toEqual(kernelOf(whole));
    const detected = holding("detect");
    expect(detected.status).toBe(3);
    const { diagnostics } = v.parse(detectDocumentSchema, jsonOf("detect", detected.stdout));
    expect(diagnostics.at(-1)).toEqual({ code: "E_DEADLINE", message: expect.stringMatching(late) });
  });

  test("leaves every format what is known", () => {
    for (const format of ["env", "header", "table"]) {
      const whole = run([executable, "kernel", "--proc-root", held, "--format", format]);
      const { status, stdout, stderr } = holding("run", "--format", format);
      expect(status).toBe(3);
      const expected = whole.stdout.split("\n").filter((line) => /offset_(daddr|rtt|ct_ino)\b/i.test(line));
      expect(expected.length).toBeGreaterThan(0);
      for (const line of expected) expect(stdout.split("\n")).toContain(line);
      expect(format === "table" ? stdout : stderr).toContain("E_DEADLINE");
    }
    const single = holding("tls", "--get", "SSL_ST_RBIO");
    expect(single).toMatchObject({ status: 3, stdout: "" });
    expect(single.stderr).toContain("for process 1; allow more with --deadline");
  });
});
