import { expect, test } from "bun:test";
import { join } from "node:path";
import * as v from "valibot";
import { kernelFields } from "../../src/kernel/fields.ts";
import { kernelFlags } from "../../src/kernel/flags.ts";
import { documentSchema } from "../../src/output/document.ts";
import { bootGuest, HIDE_BTF, text } from "./guest.ts";
import { chosenKernels, loadKernel } from "./kernels.ts";
import { truthOf } from "./truth.ts";

const TIMEOUT = 300_000;
const EXECUTABLE = join(import.meta.dir, "../../dist/offsetof");
const ask = (strategy: string, bytecode: string) =>
  `OFFSETOF_BYTECODE=${bytecode} /opt/offsetof kernel --strategy ${strategy} --format json`;

/** How often each object is asked. */
const RUNS = 3;

for (const row of chosenKernels()) {
  test(
    `${row.name}: the objects for old kernels tell the truth, with the kernel's BTF hidden, every time`,
    async () => {
      const kernel = await loadKernel(row);
      const truth = await truthOf(
        kernel.btf,
        kernelFields.map(({ member }) => member),
      );
      const expected = Object.fromEntries([
        ...kernelFields.map(({ constant, member }) => [constant, truth.get(member) ?? null]),
        ...kernelFlags.map(({ constant }) => [constant, 1]),
      ]);
      expect(Object.values(expected)).not.toContain(null);

      const asked = ["snapshot", "stepwise"].flatMap((strategy) =>
        ["auto", ...Array.from({ length: RUNS }, () => "old")].map((bytecode) => ({ strategy, bytecode })),
      );
      const { results } = await bootGuest({
        kernel,
        commands: [HIDE_BTF, ...asked.map(({ strategy, bytecode }) => ask(strategy, bytecode))],
        files: { "/opt/offsetof": { from: EXECUTABLE } },
        modules: ["nf_conntrack_netlink"],
        deadlineSeconds: 250,
      });
      for (const [index, { strategy, bytecode }] of asked.entries()) {
        const { stdout = new Uint8Array(), stderr = stdout } = results[index + 1] ?? {};
        if (stdout.length === 0) throw new Error(text(stderr));
        const { kernel: report, host } = v.parse(documentSchema, JSON.parse(text(stdout)));
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
    TIMEOUT,
  );
}
