import { expect, test } from "bun:test";
import { join } from "node:path";
import * as v from "valibot";
import { kernelFields } from "../../src/kernel/fields.ts";
import { kernelFlags } from "../../src/kernel/flags.ts";
import { documentSchema } from "../../src/output/document.ts";
import { jsonOf } from "../schema.ts";
import { bootGuest, type CommandResult, HIDE_BTF, text } from "./guest.ts";
import { chosenKernels, type LoadedKernel, loadKernel } from "./kernels.ts";
import { truthOf } from "./truth.ts";

const EXECUTABLE = join(import.meta.dir, "../../dist/offsetof");
const ASK = "/opt/offsetof kernel --format json";

/** Runs in the storm; OFFSETOF_LAB_RUNS makes it more or fewer. A guest of one slow cpu takes seconds for one. */
const RUNS = Number(process.env.OFFSETOF_LAB_RUNS ?? 20);
/** Runs at the same time in the quiet guest. */
const TOGETHER = 5;
/** Boot and all runs; generous, as the machine may be busy. */
const DEADLINE_SECONDS = 1500 + 60 * RUNS;

/**
 * Opens and closes connections of both families and sends datagrams, without an end, and keeps count in a file:
 * how many of each so far.
 */
const STORM = `
import { renameSync, writeFileSync } from "node:fs";
const loopbacks = ["127.0.0.1", "::1"];
const counts = { connections: 0, datagrams: 0 };
const servers = loopbacks.map((hostname) =>
  Bun.listen({ hostname, port: 0, socket: { data: (socket) => void socket.end("y") } }));
const udps = await Promise.all(loopbacks.map((hostname) => Bun.udpSocket({ hostname })));
for (;;) {
  for (const [index, { hostname, port }] of servers.entries()) {
    const socket = { open: (s) => void s.write("x"), data() {}, error() {} };
    (await Bun.connect({ hostname, port, socket })).end();
    counts.connections++;
    for (let each = 0; each < 4; each++) if (udps[index].send("x", udps[index].port, hostname)) counts.datagrams++;
  }
  if (counts.connections % 20 === 0) {
    writeFileSync("/tmp/counts.new", JSON.stringify(counts));
    renameSync("/tmp/counts.new", "/tmp/counts");
  }
}
`;
const countsSchema = v.object({ connections: v.number(), datagrams: v.number() });
/** Starts the storm and waits until it blows, or is over. */
const BREW =
  "/opt/bun /opt/storm.mjs >/tmp/storm.log 2>&1 & until [ -e /tmp/counts ] || ! kill -0 $!; do sleep 0.1; done";
/** Fails when the storm has ended. */
const COUNTS = "kill -0 $(pidof bun) && cat /tmp/counts || { cat /tmp/storm.log; exit 1; }";
const AT_ONCE = `
i=0; while [ $i -lt ${TOGETHER} ]; do ${ASK} >/tmp/run.$i & i=$((i + 1)); done; wait
i=0; while [ $i -lt ${TOGETHER} ]; do cat /tmp/run.$i; i=$((i + 1)); done
`;

/** The constants that every run in a quiet guest gives: each one, as the kernel's BTF tells it. */
async function expectedOf(kernel: LoadedKernel): Promise<Record<string, number | null>> {
  const truth = await truthOf(
    kernel.btf,
    kernelFields.map(({ member }) => member),
  );
  return Object.fromEntries([
    ...kernelFields.map(({ constant, member }) => [constant, truth.get(member) ?? null]),
    ...kernelFlags.map(({ constant }) => [constant, 1]),
  ]);
}

/** The constants of each document that a command printed, one a line or one over many. */
const constantsOf = ({ stdout, stderr }: CommandResult): Record<string, number | null>[] => {
  const documents = text(stdout).split(/(?<=^}|})\n(?={)/m);
  if (stdout.length === 0) throw new Error(text(stderr));
  return documents.map((each) => v.parse(documentSchema, jsonOf("document", each)).kernel?.constants ?? {});
};

const countsOf = ({ stdout, stderr, status }: CommandResult) => {
  if (status !== 0) throw new Error(`the storm is over: ${text(stdout)}${text(stderr)}`);
  return v.parse(countsSchema, JSON.parse(text(stdout)));
};

for (const row of chosenKernels()) {
  test(
    `${row.name}: ${TOGETHER} runs at once, and ${RUNS} in a storm of connections and datagrams, know all and tell the truth`,
    async () => {
      const kernel = await loadKernel(row);
      const expected = await expectedOf(kernel);
      expect(Object.values(expected)).not.toContain(null);

      const { results } = await bootGuest({
        kernel,
        commands: [HIDE_BTF, AT_ONCE, BREW, COUNTS, ...Array.from({ length: RUNS }, () => ASK), COUNTS],
        files: {
          "/opt/offsetof": { from: EXECUTABLE },
          "/opt/bun": { from: process.execPath },
          "/opt/storm.mjs": { content: STORM },
        },
        modules: ["nf_conntrack_netlink"],
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
      // Each of the runs had hundreds of others' packets and sockets around it.
      const [start, end] = [countsOf(before), countsOf(after)];
      expect(end.connections - start.connections).toBeGreaterThan(100 * RUNS);
      expect(end.datagrams - start.datagrams).toBeGreaterThan(100 * RUNS);
      console.error(
        `${row.name}: ${JSON.stringify({ start, end, seconds: rest.reduce((sum, { seconds }) => sum + seconds, 0) })}`,
      );
    },
    DEADLINE_SECONDS * 1000 + 60_000,
  );
}
