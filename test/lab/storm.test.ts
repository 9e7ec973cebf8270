import { expect, test } from "bun:test";
import { join } from "node:path";
import * as v from "valibot";
import { documentSchema } from "../../src/output/document.ts";
import { jsonOf } from "../schema.ts";
import { trueConstants } from "./constants.ts";
import { bootGuest, type CommandResult, HIDE_BTF, text } from "./guest.ts";
import { chosenKernels, loadKernel } from "./kernels.ts";
import { BREW, COUNTS, STORM_MODULES, STORM_PACKAGES, stormCounts, stormFiles } from "./storm.ts";

const EXECUTABLE = join(import.meta.dir, "../../dist/offsetof");
const ASK = "/opt/offsetof kernel --format json";

/** Runs in the storm; OFFSETOF_LAB_RUNS makes it more or fewer. A guest of one slow cpu takes seconds for one. */
const RUNS = Number(process.env.OFFSETOF_LAB_RUNS ?? 20);
/** Runs at the same time in the quiet guest. */
const TOGETHER = 5;
/** Boot and all runs; generous, as the machine may be busy. */
const DEADLINE_SECONDS = 1500 + 60 * RUNS;

const AT_ONCE = `
i=0; while [ $i -lt ${TOGETHER} ]; do ${ASK} >/tmp/run.$i & i=$((i + 1)); done; wait
i=0; while [ $i -lt ${TOGETHER} ]; do cat /tmp/run.$i; i=$((i + 1)); done
`;

/** The constants of each document that a command printed, one a line or one over many. */
const constantsOf = ({ stdout, stderr }: CommandResult): Record<string, number | null>[] => {
  const documents = text(stdout).split(/(?<=^}|})\n(?={)/m);
  if (stdout.length === 0) throw new Error(text(stderr));
  return documents.map((each) => v.parse(documentSchema, jsonOf("document", each)).kernel?.constants ?? {});
};

for (const row of chosenKernels()) {
  test(
    `${row.name}: ${TOGETHER} runs at once, and ${RUNS} in a storm of connections, datagrams and processes, know all and tell the truth`,
    async () => {
      const kernel = await loadKernel(row);
      const expected = await trueConstants(kernel.btf);
      expect(Object.values(expected)).not.toContain(null);

      const { results } = await bootGuest({
        kernel,
        commands: [HIDE_BTF, AT_ONCE, BREW, COUNTS, ...Array.from({ length: RUNS }, () => ASK), COUNTS],
        files: {
          "/opt/offsetof": { from: EXECUTABLE },
          ...stormFiles(process.execPath),
        },
        packages: STORM_PACKAGES,
        modules: STORM_MODULES,
        memoryMiB: 2048,
        deadlineSeconds: DEADLINE_SECONDS,
      });
      const [, together, , before, ...rest] = results;
      const after = rest.pop();
      if (together === undefined || before === undefined || after === undefined)
        throw new Error("no results");
      expect(constantsOf(together)).toEqual(Array.from({ length: TOGETHER }, () => expected));

      const wrong = rest
        .flatMap((result) => constantsOf(result))
        .filter((each) => !Bun.deepEquals(each, expected));
      expect(wrong).toEqual([]);
      expect(rest.length).toBe(RUNS);
      // Each of the runs had others' packets, sockets, processes and entries around it.
      const [start, end] = [stormCounts(before), stormCounts(after)];
      expect(end.connections - start.connections).toBeGreaterThan(2 * RUNS);
      expect(end.datagrams - start.datagrams).toBeGreaterThan(8 * RUNS);
      expect(end.entries).toBeGreaterThan(start.entries);
      console.error(
        `${row.name}: ${JSON.stringify({ start, end, seconds: rest.reduce((sum, { seconds }) => sum + seconds, 0) })}`,
      );
    },
    DEADLINE_SECONDS * 1000 + 60_000,
  );
}
