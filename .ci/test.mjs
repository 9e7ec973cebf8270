// npm test [-- BUN TEST ARGUMENTS]: installs everything, builds, and runs the tests.
import { spawnSync } from "node:child_process";
import { existsSync } from "node:fs";
import { join } from "node:path";
import { build, bun, install, root, step } from "./setup.mjs";

install({ dev: true });
// Debian packages that tests need.
if (existsSync(join(root, "test/packages.sh"))) step("sh", ["test/packages.sh"]);
build();

/** Milliseconds for a test and for each of its hooks: no measure of speed, but a limit against hanging. */
const limit = 600_000;
const args = [`--timeout=${limit}`, ...process.argv.slice(2)];
const reporter = ["--reporter=junit", "--reporter-outfile=dist/test.xml"];
const { status } = spawnSync(bun, ["test", ...reporter, ...args], { cwd: root, stdio: "inherit" });
process.exit(status ?? 1);
