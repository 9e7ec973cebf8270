import { expect, test } from "bun:test";
import { join } from "node:path";
import * as v from "valibot";
import { documentSchema } from "../../src/output/document.ts";
import { buildConfine } from "../confine.ts";
import { jsonOf } from "../schema.ts";
import { trueConstants } from "./constants.ts";
import { bootGuest, guestTimeout, HIDE_BTF, text } from "./guest.ts";
import { chosenKernels, loadKernel } from "./kernels.ts";

const EXECUTABLE = join(import.meta.dir, "../../dist/offsetof");
/** The bpf(2) of Linux 4.17: without BTF and links, so that kprobes are attached by perf_event_open and ioctl. */
const LINUX_4_17 = "/opt/confine -k 4.17 ";
/** That of Linux 4.14, without raw tracepoints; there kprobes are made by tracefs, as no perf event is one. */
const LINUX_4_14 = "/opt/confine -k 4.14 ";
const HIDE_PERF_KPROBES = "mkdir -p /run/empty && mount -o bind /run/empty /sys/devices/kprobe";

/** What is asked of each strategy: which object, and what the command is run by. */
const questions = [
  { bytecode: "auto", by: "" },
  { bytecode: "old", by: "" },
  { bytecode: "old", by: "" },
  { bytecode: "old", by: LINUX_4_17 },
  { bytecode: "old", by: `${HIDE_PERF_KPROBES} && ${LINUX_4_14}` },
] as const;

for (const row of chosenKernels()) {
  test(
    `${row.name}: the objects for old kernels tell the truth, with the kernel's BTF hidden, every time`,
    async () => {
      const kernel = await loadKernel(row);
      const expected = await trueConstants(kernel.btf);
      expect(Object.values(expected)).not.toContain(null);

      const asked = ["snapshot", "stepwise"].flatMap((strategy) =>
        questions.map(({ bytecode, by }) => ({
          strategy,
          bytecode,
          command: `export OFFSETOF_BYTECODE=${bytecode}; ${by}/opt/offsetof kernel --strategy ${strategy} --format json
            status=$?; umount /sys/devices/kprobe 2>/dev/null; exit $status`,
        })),
      );
      const { results } = await bootGuest({
        kernel,
        commands: [HIDE_BTF, ...asked.map(({ command }) => command)],
        files: {
          "/opt/offsetof": { from: EXECUTABLE },
          "/opt/confine": { from: await buildConfine(row.architecture) },
        },
        mounts: ["tracefs"],
        modules: ["nf_conntrack_netlink"],
      });
      for (const [index, { strategy, bytecode }] of asked.entries()) {
        const { stdout = new Uint8Array(), stderr = stdout } = results[index + 1] ?? {};
        if (stdout.length === 0) throw new Error(text(stderr));
        const { kernel: report, host } = v.parse(documentSchema, jsonOf("document", text(stdout)));
        expect(host.btf).toBe(false);
        const program = strategy === "snapshot" ? "socket_guess" : "socket_stepwise";
        expect(report).toMatchObject({
          strategy,
          // Every kernel of the lab is younger than 5.5.
          bytecode: bytecode === "old" ? `${program}_old` : program,
        });
        const guessed = Object.entries(report?.constants ?? {}).filter(([, value]) => value !== null);
        for (const [constant, value] of guessed)
          expect([constant, value]).toEqual([constant, expected[constant] ?? null]);
        // Stepwise guesses the classic fields alone.
        if (strategy === "snapshot") expect(report?.constants).toEqual(expected);
        else expect(guessed.length).toBeGreaterThanOrEqual(13);
      }
    },
    guestTimeout,
  );
}
