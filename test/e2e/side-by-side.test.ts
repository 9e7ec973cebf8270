/** Several libraries in one run: their children work side by side, and what comes of them stands in order. */
import { afterAll, describe, expect, test } from "bun:test";
import {
  appendFileSync,
  chmodSync,
  chownSync,
  copyFileSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
} from "node:fs";
import { availableParallelism } from "node:os";
import { basename, join } from "node:path";
import { buildHostile } from "../hostile.ts";
import { until } from "../until.ts";
import { documentOf, executable, type Run, run, Scratch } from "./executable.ts";

const scratch = new Scratch();
afterAll(() => scratch[Symbol.dispose]());
chmodSync(scratch.path, 0o755);

const unique = basename(scratch.path);
const sleeper = (name: string): string =>
  buildHostile({ name: `${unique}-${name}`, code: "for (;;) sleep(1000);" }, scratch.at("libraries"));
const leaver = (name: string): string =>
  buildHostile({ name: `${unique}-${name}`, code: "return 77;" }, scratch.at("libraries"));

/** Why each was not probed, in the document's order. */
const reasons = (result: Run): readonly string[] =>
  documentOf(result)
    .diagnostics.filter(({ code }) => code === "W_TLS_PROBE")
    .map(({ message }) => basename(message.replace(`${unique}-`, "")));

test("reports and diagnostics stand in order of path, whichever child is done first", () => {
  const libraries = [sleeper("a"), leaver("b"), sleeper("c"), leaver("d")];
  const result = run([executable, "tls", ...libraries.toReversed(), "--deadline", "20000"]);
  expect(documentOf(result).tls?.map(({ path }) => path)).toEqual(libraries);
  expect(reasons(result)).toEqual([
    expect.stringMatching(/^a\.so: not probed: not done after \d+ ms$/),
    "b.so: not probed: it ended with 77 and without an answer",
    expect.stringMatching(/^c\.so: not probed: not done after \d+ ms$/),
    "d.so: not probed: it ended with 77 and without an answer",
  ]);
});

/** The parent of each process that there is. */
function parents(): ReadonlyMap<number, number> {
  const pids = readdirSync("/proc").filter((name) => /^\d+$/.test(name));
  return new Map(
    pids.flatMap((pid) => {
      try {
        const [, parent] = /\) . (\d+) /.exec(readFileSync(`/proc/${pid}/stat`, "latin1")) ?? [];
        return [[Number(pid), Number(parent)] as const];
      } catch {
        return []; // gone
      }
    }),
  );
}

describe("where several children are at work", () => {
  const libraries = Array.from({ length: 12 }, (_, index) => sleeper(`sleeper ${index}`));
  const started = (command: readonly string[], ...args: readonly string[]) =>
    Bun.spawn([...command, executable, "tls", ...libraries, ...args], {
      stdin: "ignore",
      stdout: "pipe",
      stderr: "ignore",
    });
  /** Which of its children's children have one of the libraries. */
  function atWork({ pid }: Bun.Subprocess): readonly number[] {
    const all = [...parents()];
    const stages = new Set(all.flatMap(([one, parent]) => (parent === pid ? [one] : [])));
    return all.flatMap(([one, parent]) => (stages.has(parent) && isAtWork(one) ? [one] : []));
  }
  function isAtWork(pid: number): boolean {
    try {
      return readFileSync(`/proc/${pid}/maps`, "latin1").includes(scratch.at("libraries"));
    } catch {
      return false;
    }
  }
  /** Those that were at work at the same time, once there were two. */
  const severalOf = (parent: Bun.Subprocess): Promise<readonly number[]> =>
    until(() => {
      const pids = atWork(parent);
      return (pids.length >= 2 || parent.exitCode !== null) && pids;
    });

  test.skipIf(availableParallelism() < 2).each(["SIGKILL", "SIGTERM", "SIGINT"] as const)(
    "%s ends them all",
    async (signal) => {
      const parent = started([]);
      const pids = await severalOf(parent);
      parent.kill(signal);
      await parent.exited;
      await until(() => !pids.some(isAtWork));
    },
  );

  test.skipIf(availableParallelism() < 2)("the deadline ends them all", async () => {
    const parent = started(["taskset", "-c", "0,1"], "--deadline", "5000");
    const pids = await severalOf(parent);
    const stdout = await new Response(parent.stdout).text();
    expect(await parent.exited).toBe(3);
    const { diagnostics } = documentOf({ status: 3, stdout, stderr: "" });
    expect(diagnostics.map(({ code }) => code)).toContain("E_DEADLINE");
    await until(() => !pids.some(isAtWork));
  });

  test("on one processor libraries are looked at one after the other", async () => {
    const one = started(["taskset", "-c", "0"], "--deadline", "5000");
    let most = 0;
    while (one.exitCode === null && one.signalCode === null) {
      most = Math.max(most, atWork(one).length);
      await Bun.sleep(100);
    }
    expect(most).toBeLessThanOrEqual(1);
  });
});

describe("files of the same bytes", () => {
  const machines = "/usr/lib/x86_64-linux-gnu/libssl.so.3";
  /** Copies of the machine's own, each in a folder. */
  function copies(...names: readonly string[]): readonly string[] {
    const top = mkdtempSync(scratch.at("copies-"));
    chmodSync(top, 0o755);
    return names.map((name) => {
      mkdirSync(join(top, name));
      const path = join(top, name, "libssl.so.3");
      copyFileSync(machines, path);
      return path;
    });
  }
  const traced = (...libraries: readonly string[]) => {
    const { status, stdout, stderr } = run([
      "strace",
      "-f",
      "-e",
      "trace=execve",
      executable,
      "tls",
      ...libraries,
    ]);
    const { tls = [], diagnostics } = documentOf({ status, stdout, stderr: "" });
    return {
      probed: tls.map(({ fields }) => fields.SSL_ST_RBIO?.evidence.probe),
      children: stderr.split('"@child", "isolate"').length - 1,
      why: diagnostics.filter(({ code }) => code === "W_TLS_PROBE").map(({ message }) => message),
    };
  };

  test("are probed once, and each is told", () => {
    const { probed, children } = traced(...copies("a", "b", "c"));
    expect({ probed, children }).toEqual({ probed: [[16], [16], [16]], children: 1 });
  });

  test("are more than one where a byte differs, whatever build id both claim", () => {
    const both = copies("a", "b");
    appendFileSync(both[1] ?? "", "\0");
    const { probed, children } = traced(...both);
    expect({ probed, children }).toEqual({ probed: [[16], [16]], children: 2 });
  });

  test("tell nothing of a copy that must not be executed", () => {
    const [own = "", theirs = ""] = copies("a", "b");
    chownSync(theirs, 1234, 1234);
    const { probed, children, why } = traced(own, theirs);
    expect({ probed, children }).toEqual({ probed: [[16], undefined], children: 1 });
    expect(why).toEqual([expect.stringContaining(`${theirs} belongs to user 1234`)]);
  });
});
