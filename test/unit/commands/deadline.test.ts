import { expect, test } from "bun:test";
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { hang } from "../../until.ts";

const source = join(import.meta.dir, "../../../src/commands/deadline.ts");

/** Asks for a result that takes so many milliseconds, in a process of its own: what is late may end it. */
function within(deadline: number, takes: number): { status: number; told: string } {
  const program = `
    import { withinDeadline } from ${JSON.stringify(source)};
    const act = async () => {
      for (const started = performance.now(); performance.now() - started < ${takes}; );
      return "taken";
    };
    const limit = { milliseconds: ${deadline}, format: "json" };
    console.log(await withinDeadline(limit, act).catch(({ code }) => code));`;
  const { stdout, stderr, exitCode } = Bun.spawnSync([process.execPath, "-e", program]);
  return { status: exitCode, told: `${stdout}${stderr}`.trim() };
}

test("a result in time is taken", () => {
  expect(within(60_000, 1)).toEqual({ status: 0, told: "taken" });
});

test("a result that comes too late is not taken, whoever is first to say so", () => {
  // Either the waiting thread ends the process, or it is not even there yet.
  expect(within(0.01, 1).told).toContain("E_DEADLINE");
});

/** Is at one thing, its thread blocked, until a condition holds; on a terminal, whose text `log` has as it comes. */
function blocked({ quiet, until }: { quiet: boolean; until: string }): string {
  const folder = mkdtempSync(join(tmpdir(), "offsetof-deadline-"));
  try {
    const [program, log] = [join(folder, "program.ts"), join(folder, "log")];
    const from = (file: string) => JSON.stringify(join(import.meta.dir, "../../../src", file));
    writeFileSync(
      program,
      `import { readFileSync } from "node:fs";
      import { withinDeadline } from ${from("commands/deadline.ts")};
      import { setVerbosity } from ${from("output/log.ts")};
      import { during } from ${from("self/whereabouts.ts")};
      setVerbosity({ quiet: ${quiet}, verbose: false });
      const started = performance.now();
      const shown = () => readFileSync(${JSON.stringify(log)}, "latin1");
      await withinDeadline({ milliseconds: ${hang}, format: "json" }, async () => {
        using _ = during("reading /a\\x1b[2J");
        while (!(${until})) Bun.sleepSync(20);
      });
      console.log("the end");`,
    );
    const child = Bun.spawnSync(["script", "-qefc", `${process.execPath} ${program}`, log], {
      timeout: hang,
    });
    expect(child.exitCode).toBe(0);
    return child.stdout.toString();
  } finally {
    rmSync(folder, { recursive: true });
  }
}

test("what takes long is told on a terminal though the thread is blocked: what it is, without what steers it, and gone at the end", () => {
  const lines = blocked({ quiet: false, until: `/\\d+ s: /.test(shown())` }).split("\r\x1b[K");
  expect([lines.shift(), lines.pop()]).toEqual(["", "the end\r\n"]);
  expect(lines.length).toBeGreaterThan(0);
  for (const line of lines) expect(line).toMatch(/^\d+ s: reading \/a\\x1b\[2J$/);
});

test("under --quiet nothing is told, however long it takes", () => {
  expect(blocked({ quiet: true, until: "performance.now() - started > 4000" })).toBe("the end\r\n");
});
