/** `tls --watch`: what begins to be used, ends, and is replaced. Truth is what the test itself does, and readelf. */
import { afterAll, beforeAll, describe, expect, test } from "bun:test";
import { copyFileSync, mkdirSync, readFileSync, renameSync } from "node:fs";
import { join } from "node:path";
import * as v from "valibot";
import { loadPackage } from "../../assets/build/debian.ts";
import { watchLineSchema } from "../../src/output/watch-schema.ts";
import { jsonOf } from "../schema.ts";
import { fetchTimeout } from "../unit/tls/debian.ts";
import { hang, until } from "../until.ts";
import { executable, run, Scratch } from "./executable.ts";

const lib = "usr/lib/x86_64-linux-gnu";
let scratch: Scratch;
let [older, newer] = ["", ""];
beforeAll(async () => {
  scratch = new Scratch();
  older = join((await loadPackage("bookworm", "libssl3")).root, lib);
  newer = join((await loadPackage("trixie", "libssl3t64")).root, lib);
  run(["cc", "-o", scratch.at("holder"), join(import.meta.dir, "../unit/tls/holder.c")]);
}, fetchTimeout);
afterAll(() => scratch[Symbol.dispose]());

const buildIdOf = (path: string): string =>
  /Build ID: (\w+)/.exec(run(["readelf", "-n", path]).stdout)?.[1] ?? "none";

/** A shell that runs what it is told, as long as the test goes on. */
class Shell implements AsyncDisposable {
  readonly #child;
  readonly place: string;

  constructor(name: string, around: readonly string[]) {
    this.place = scratch.at(name);
    mkdirSync(this.place);
    this.#child = Bun.spawn([...around, "sh"], {
      cwd: this.place,
      stdin: "pipe",
      stdout: "inherit",
      stderr: "inherit",
    });
  }

  tell(line: string): void {
    this.#child.stdin.write(`${line}\n`);
    this.#child.stdin.flush();
  }

  /** Starts a program in the background, with what it writes in a file. @returns a function that ends it */
  async start(name: string, command: string): Promise<() => void> {
    this.tell(`${command} > ${this.place}/${name} & echo $! > ${this.place}/${name}.pid`);
    const pid = await until(() => this.#read(`${name}.pid`).trim() || undefined);
    return () => this.tell(`kill ${pid}`);
  }

  #read(name: string): string {
    try {
      return readFileSync(join(this.place, name), "utf8");
    } catch {
      return "";
    }
  }

  /** The whole lines of a watch, each as the published schema has it. */
  get lines() {
    const text = this.#read("lines");
    return text
      .slice(0, text.lastIndexOf("\n") + 1)
      .split("\n")
      .filter((line) => line !== "")
      .map((line) => v.parse(watchLineSchema, jsonOf("tls-watch-line", line)));
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.tell("for each in *.pid; do kill $(cat $each) 2>/dev/null; done; wait");
    this.#child.stdin.end();
    await this.#child.exited;
  }
}

describe.each<[by: string, around: readonly string[]]>([
  ["process_events", []],
  // Below the first namespace of processes the kernel tells nothing.
  ["polling", ["unshare", "--pid", "--fork", "--mount-proc"]],
])("by %s", (by, around) => {
  test.concurrent("used, replaced by an upgrade and in place, unused", async () => {
    await using shell = new Shell(by, around);
    const { place } = shell;
    const path = join(place, "libssl.so.3");
    const put = (from: string, to = place): void => {
      for (const name of ["libcrypto.so.3", "libssl.so.3"]) copyFileSync(join(from, name), join(to, name));
    };
    put(older);
    const [old, young] = [buildIdOf(path), buildIdOf(join(newer, "libssl.so.3"))];
    const stop = await shell.start("lines", `${executable} tls --watch --source code,table`);
    const watching = await until(() => shell.lines.find(({ event }) => event === "watching"));
    expect(watching).toMatchObject({ by, ...(by === "polling" && { reason: expect.any(String) }) });

    /** What was told of the library, in order; the processes that have it mapped. */
    const told = () =>
      shell.lines.flatMap((line) => {
        if (line.event === "watching") return [];
        const { path: at, build_id } = line.event === "used" ? line.library : line;
        if (at !== path) return [];
        return [[line.event, build_id, line.event === "replaced" ? line.library?.build_id : ""]];
      });
    const holder = (name: string) => shell.start(name, `${scratch.at("holder")} 1 ${path}`);
    const first = await holder("first");
    await until(() => told().length === 1);
    const [used] = shell.lines.flatMap((line) =>
      line.event === "used" && line.library.path === path ? line.library : [],
    );
    expect(used).toMatchObject({ library: "openssl", used_by: [expect.any(Number)] });
    expect(used?.fields.SSL_ST_RBIO).toMatchObject({ value: 16, status: "confirmed" });

    mkdirSync(join(place, "next"));
    put(newer, join(place, "next"));
    for (const name of ["libcrypto.so.3", "libssl.so.3"])
      renameSync(join(place, "next", name), join(place, name));
    await until(() => told().length === 2);
    const second = await holder("second");
    await until(() => told().length === 3);
    first();
    await until(() => told().length === 4);
    put(older); // into the very file
    await until(() => told().length === 5);
    second();
    await until(() => told().length === 6);
    expect(told()).toEqual([
      ["used", old, ""],
      ["replaced", old, young],
      ["used", young, ""],
      ["unused", old, ""],
      ["replaced", young, old],
      ["unused", old, ""],
    ]);
    stop();
  });
});

/** A watch that has begun, where nothing else runs. */
async function started(line = "exec") {
  const alone = ["unshare", "--pid", "--fork", "--kill-child", "--mount-proc"];
  const watch = `${line} ${executable} tls --watch --source table`;
  const child = Bun.spawn([...alone, "sh", "-c", watch], {
    stdin: "ignore",
    stdout: "pipe",
    stderr: "pipe",
    timeout: hang,
  });
  const reader = child.stdout.getReader();
  let text = "";
  while (!text.includes('"watching"')) {
    const { value, done } = await reader.read();
    if (done) throw new Error(await new Response(child.stderr).text());
    text += new TextDecoder().decode(value);
  }
  const pid = Number(run(["pgrep", "-P", `${child.pid}`]).stdout);
  return { child, reader, kill: (signal: NodeJS.Signals) => process.kill(pid, signal) };
}

test.concurrent.each(["SIGINT", "SIGTERM", "SIGHUP"] as const)(
  "%s ends it, and that is no failure",
  async (signal) => {
    const { child, reader, kill } = await started();
    kill(signal);
    expect(await child.exited).toBe(0);
    let rest = "";
    for (let part = await reader.read(); !part.done; part = await reader.read())
      rest += new TextDecoder().decode(part.value);
    expect(rest === "" || rest.endsWith("}\n")).toBe(true);
    expect(await new Response(child.stderr).text()).toBe("");
  },
);

test.concurrent("it ends where nobody reads any more, though there is nothing to tell", async () => {
  const { child, reader } = await started();
  await reader.cancel();
  expect(await child.exited).toBe(0);
});

test.concurrent("a signal that was ignored at its start is meant for others", async () => {
  const { child, kill } = await started("trap '' HUP; exec");
  kill("SIGHUP");
  await Bun.sleep(500);
  expect(child.exitCode).toBe(null);
  kill("SIGTERM");
  expect(await child.exited).toBe(0);
});

test.each([
  [["/bin/true"]],
  [["--pid", "1"]],
  [["--all"]],
  [["--get", "BIO_ST_METHOD"]],
  [["--format", "env"]],
])("--watch with %p is wrong usage", (args) => {
  expect(run([executable, "tls", "--watch", ...args])).toMatchObject({ status: 2, stdout: "" });
});
