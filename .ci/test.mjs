// npm test [-- BUN TEST ARGUMENTS]: installs everything, builds, and runs the tests.
import { spawn } from "node:child_process";
import { existsSync } from "node:fs";
import { join } from "node:path";
import { build, bun, install, root, step } from "./setup.mjs";

install({ dev: true });
// Debian packages that tests need.
if (existsSync(join(root, "test/packages.sh"))) step("sh", ["test/packages.sh"]);
build();

/** Milliseconds for a test and for each of its hooks: no measure of speed, but a limit against hanging. */
const limit = 600_000;

/** Ends with bun's exit code. Of what runs beside another the words are kept together, and told when it has ended. */
function test(args, report, isAside) {
  const reporter = ["--reporter=junit", `--reporter-outfile=${report}`];
  const stdio = isAside ? ["ignore", "pipe", "pipe"] : "inherit";
  const child = spawn(bun, ["test", ...reporter, `--timeout=${limit}`, ...args], { cwd: root, stdio });
  const said = [];
  for (const stream of [child.stdout, child.stderr]) stream?.on("data", (bytes) => said.push(bytes));
  return new Promise((resolve) => {
    child.on("error", (error) => {
      console.error(`offsetof: bun does not start: ${error.message}`);
      resolve(1);
    });
    child.on("close", (code) => {
      process.stderr.write(Buffer.concat(said));
      resolve(code ?? 1);
    });
  });
}

const only = process.argv.slice(2);
const report = "dist/test.xml";
if (only.length > 0) process.exit(await test(only, report, false));

// The kernel that a guest boots last is built meanwhile.
spawn("nice", ["-n", "5", bun, "test/lab/build.ts", "usual"], { cwd: root, stdio: ["ignore", 2, 2] });
// Guests share nothing with this machine, and each takes one processor: they run beside the other tests.
const codes = await Promise.all([
  test(["--path-ignore-patterns=test/lab/**"], report, false),
  test(["test/lab/"], "dist/test-lab.xml", true),
]);
process.exit(codes.find((code) => code !== 0) ?? 0);
