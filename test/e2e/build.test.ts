import { expect, test } from "bun:test";
import { executable, repository, run } from "./executable.ts";

const sum = (path: string): string => run(["sha256sum", path]).stdout.split(" ")[0] ?? "";

test("the same input gives the same bytes", () => {
  const before = sum(executable);
  const built = run([process.execPath, "build.ts"], { cwd: repository });
  expect(built).toEqual({ status: 0, stdout: "", stderr: "" });
  expect(sum(executable)).toBe(before);
});

test("an unknown target is refused with the known ones", () => {
  const { status, stderr } = run([process.execPath, "build.ts", "--target", "riscv"], { cwd: repository });
  expect(status).toBe(2);
  expect(stderr).toContain("known are x64, arm64");
});

test("npm start passes arguments, stdout and the exit code through", () => {
  const start = ["npm", "start", "--", "--format", "table"];
  const { status, stdout, stderr } = run([...start, "--nosuch"], { cwd: repository });
  expect({ status, stdout }).toEqual({ status: 2, stdout: "" });
  expect(stderr).toBe('offsetof: unknown flag "--nosuch"; see "offsetof --help"\n');
  expect(run(["npm", "start", "--", "--version"], { cwd: repository }).stdout).toBe(
    run([executable, "--version"]).stdout,
  );
});
