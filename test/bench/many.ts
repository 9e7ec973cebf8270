import { appendFileSync, chmodSync, copyFileSync, mkdirSync } from "node:fs";
import { availableParallelism } from "node:os";
import { Beside, buildCrowd } from "../crowd.ts";
import { executable, Scratch } from "../e2e/executable.ts";
import { type Figures, round, row, sideBySide, table } from "./figures.ts";

const RUNS = 5;
const LIBRARIES = 30;
const PROCESSES = 200;

const ratio = (one: Figures | undefined, other: Figures | undefined): string =>
  `${round((one?.wall ?? Number.NaN) / (other?.wall ?? Number.NaN))}×`;

/** A run over many libraries on one processor and on all of them; and a whole run without a hostile user and beside one. */
export async function manySection(): Promise<string> {
  using scratch = new Scratch();
  chmodSync(scratch.path, 0o755);
  // One byte more each, so that none is another's copy.
  const libraries = Array.from({ length: LIBRARIES }, (_, index) => {
    mkdirSync(scratch.at(String(index)));
    const path = scratch.at(`${index}/libssl.so.3`);
    copyFileSync("/usr/lib/x86_64-linux-gnu/libssl.so.3", path);
    appendFileSync(path, Buffer.alloc(index + 1));
    return path;
  });
  const named = [executable, "tls", ...libraries, "--format", "json"];
  const [one, all] = sideBySide([["taskset", "-c", "0", ...named], named], RUNS);
  const whole = [executable, "run", "--format", "json"];
  const crowd = buildCrowd(scratch.path, PROCESSES);
  const [quiet] = sideBySide([whole], RUNS);
  await using _ = await Beside.start(crowd);
  const [beside] = sideBySide([whole], RUNS);
  const line = (name: string, figures: Figures | undefined, times: string) =>
    row(name, figures?.wall ?? Number.NaN, figures?.cpu ?? Number.NaN, figures?.memory ?? Number.NaN, times);
  const rows = [
    line(`\`offsetof tls\` of ${LIBRARIES} libraries, one processor`, one, ""),
    line(`the same, ${availableParallelism()} processors`, all, `${ratio(one, all)} as quick`),
    line("`offsetof run`", quiet, ""),
    line(
      `the same beside a hostile user's ${PROCESSES} processes`,
      beside,
      `${ratio(beside, quiet)} as long`,
    ),
  ];
  return `## Many libraries, and a hostile user

${LIBRARIES} libraries of which each is run in a child of its own, ${RUNS} runs of each command in turn. The hostile user's processes
(\`test/crowd.c\`) have long maps, odd names, other roots, caches and mounts; a share of the time, 10 seconds of the usual deadline,
bounds all that is done for them.

${table(["command", "wall ms", "cpu ms", "memory MiB", ""], rows)}
`;
}
