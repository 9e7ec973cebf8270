import { expect, test } from "bun:test";
import { join } from "node:path";

const source = join(import.meta.dir, "../../src/deadline.ts");

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
