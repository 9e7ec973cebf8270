// What npm start and npm test need before Bun is there: plain Node, no packages. Chatter goes to stderr.
import { spawnSync } from "node:child_process";
import { existsSync, readFileSync } from "node:fs";
import { dirname, join } from "node:path";
import { fileURLToPath } from "node:url";

export const root = dirname(dirname(fileURLToPath(import.meta.url)));
export const bun = join(root, "node_modules/bun/bin/bun.exe");

/** Runs a step with its output on stderr; ends this process with the step's own exit code when it fails. */
export function step(command, args, env = {}) {
  const { status, error } = spawnSync(command, args, {
    cwd: root,
    stdio: ["ignore", 2, 2],
    env: { ...process.env, ...env },
  });
  if (status === 0) return;
  console.error(`offsetof: "${[command, ...args].join(" ")}" failed: ${error?.message ?? `exit ${status}`}`);
  process.exit(status ?? 1);
}

/** Installs the pinned packages, unless those of this very lockfile are installed already. */
export function install({ dev }) {
  if (isInstalled({ dev })) return;
  // A developer's tree keeps its tools.
  const keepDev = dev || existsSync(join(root, "node_modules/@biomejs/biome"));
  // Errors are shown here although the project silences npm (see .npmrc).
  const flags = ["--ignore-scripts", "--no-audit", "--no-fund", "--loglevel=error"];
  step("npm", ["ci", ...flags, ...(keepDev ? ["--include=dev"] : ["--omit=dev"])]);
  // Puts the platform's Bun in place; npm itself may hold install scripts back.
  step(process.execPath, ["node_modules/bun/install.js"]);
}

export function build() {
  step(bun, ["build.ts"]);
}

/** npm writes its own record of what it installed when it is done; a package whose integrity differs is another. */
function isInstalled({ dev }) {
  const record = join(root, "node_modules/.package-lock.json");
  if (!existsSync(record)) return false;
  const packages = (path) => JSON.parse(readFileSync(path, "utf8")).packages;
  const installed = packages(record);
  const wanted = Object.entries(packages(join(root, "package-lock.json"))).filter(([path]) => path !== "");
  const isSame = wanted.every(([path, { version, integrity, optional, dev: isDev }]) => {
    const found = installed[path];
    if (found === undefined) return optional === true || (isDev === true && !dev);
    return found.version === version && found.integrity === integrity;
  });
  return isSame && spawnSync(bun, ["--version"]).status === 0;
}
