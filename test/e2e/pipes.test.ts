import { afterAll, beforeAll, expect, test } from "bun:test";
import { executable, run, Scratch } from "./executable.ts";

// To open a FIFO that nobody writes to would wait for ever; each of these is to be told what it is instead.
let scratch: Scratch;
let pipe: string;
beforeAll(() => {
  scratch = new Scratch();
  pipe = scratch.at("pipe");
  run(["mkfifo", pipe]);
});
afterAll(() => scratch[Symbol.dispose]());

test.each([
  ["--config", 2, "is not used: ", () => ["run", "--config", pipe]],
  [
    "--config of a gateway's lookup",
    2,
    "is not used: ",
    () => ["gateway", "0.0.0.0", "10.0.0.1", "--config", pipe],
  ],
  ["--constants", 1, ": not a regular file", () => ["verify", "kernel", "--constants", pipe]],
  ["a key log", 1, ": not a regular file", () => ["verify", "tls", "--pid", "1", "--against", pipe]],
  ["--netns", 1, "network namespace", () => ["gateway", "0.0.0.0", "10.0.0.1", "--netns", pipe]],
  ["PATH of a library", 3, ": not a regular file", () => ["tls", pipe]],
  ["--trust", 3, ": not a regular file", () => ["tls", pipe, "--trust", pipe]],
  [
    "PATH of an object",
    1,
    ": not a regular file",
    () => ["bytecode", "edit", pipe, "--for", "kernel", "-o", scratch.at("o")],
  ],
] as const)("a FIFO as %s is refused, not waited for", (_, status, reason, args) => {
  const result = run([executable, ...args()]);
  const { stdout, stderr } = result;
  expect(`${stdout}${stderr}`).toContain(pipe);
  expect(`${stdout}${stderr}`).toContain(reason);
  expect(result.status).toBe(status);
});
