// npm test [-- BUN TEST ARGUMENTS]: installs everything, builds, and runs the tests.
import { spawn, spawnSync } from "node:child_process";
import { existsSync } from "node:fs";
import { join } from "node:path";
import { build, bun, install, root, step } from "./setup.mjs";

install({ dev: true });
// Debian packages that tests need.
if (existsSync(join(root, "test/packages.sh"))) step("sh", ["test/packages.sh"]);
build();

const only = process.argv.slice(2);
// The kernel that a test boots is built meanwhile, by what the other tests leave of the processors.
if (only.length === 0)
  spawn("nice", ["-n", "19", bun, "test/lab/build.ts", "usual"], { cwd: root, stdio: ["ignore", 2, 2] });

/** Milliseconds for a test and for each of its hooks: no measure of speed, but a limit against hanging. */
const limit = 600_000;
const args = [`--timeout=${limit}`, ...only];
const reporter = ["--reporter=junit", "--reporter-outfile=dist/test.xml"];
const { status } = spawnSync(bun, ["test", ...reporter, ...args], { cwd: root, stdio: "inherit" });
process.exit(status ?? 1);
