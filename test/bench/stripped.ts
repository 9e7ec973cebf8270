import { existsSync, statSync } from "node:fs";
import { join } from "node:path";
import { cacheFolder } from "../../assets/build/cache.ts";
import { executable, repository } from "../e2e/executable.ts";
import { loadNode, nodeSamples } from "../unit/tls/node.ts";
import { besideBefore, row, sideBySide, table, undisturbed } from "./figures.ts";

const RUNS = 9;

/** Constants and functions by references and table alone. @param before another executable, run in turn with this one */
export async function strippedSection(before: string | undefined): Promise<string> {
  const sample = nodeSamples.find(({ arch, version }) => arch === "x64" && version === "22.23.3");
  if (sample === undefined) throw new Error("Node.js 22 is no sample");
  const chromium = join(cacheFolder(), "packages/bookworm-amd64/chromium/root/usr/lib/chromium/chromium");
  const programs = [
    { name: "Node.js 22.23.3", path: await loadNode(sample), wall: 500, memory: 200 },
    { name: "Bun 1.4.5", path: join(repository, "node_modules/bun/bin/bun.exe"), wall: 500, memory: 200 },
    // bun test/truth/stripped.ts fetches it.
    ...(existsSync(chromium) ? [{ name: "Chromium", path: chromium, wall: 2000, memory: 200 }] : []),
  ];
  const builds = [executable, ...(before === undefined ? [] : [before])];
  const figures = await undisturbed(() =>
    programs.map(({ path }) =>
      sideBySide(
        builds.map((build) => [build, "tls", path, "--source", "references,table", "--format", "json"]),
        RUNS,
      ),
    ),
  );
  const rows = programs.map(({ name, path, ...goal }, index) => {
    const [now, old] = figures[index] ?? [];
    if (now === undefined) throw new Error("nothing was measured");
    const reached = now.wall <= goal.wall && now.memory <= goal.memory ? "≤" : "**>**";
    const goals = `${reached} ${goal.wall} ms, ${goal.memory} MiB`;
    const size = statSync(path).size / 2 ** 20;
    return row(name, size, now.wall, now.cpu, now.memory, goals, ...besideBefore(now, old));
  });
  const head = ["program", "MiB", "wall ms", "cpu ms", "memory MiB", "goal"];
  return `## Programs without symbols

\`offsetof tls PATH --source references,table\`, which goes over all code of a program and tells constants and functions without a symbol,
${RUNS} runs of each in turn, before all else on the machine (SCHED_FIFO).${before === undefined ? "" : " Beside it the build that came before."}

${table([...head, ...(before === undefined ? [] : ["wall ÷ before", "cpu ÷ before", "memory ÷ before"])], rows)}
`;
}
