import { expect, test } from "bun:test";
import * as v from "valibot";
import { kernelFields } from "../../src/kernel/fields/fields.ts";
import { type Document, documentSchema } from "../../src/output/document.ts";
import { jsonOf } from "../schema.ts";
import { trueConstants } from "./constants.ts";
import { executableFor } from "./executable.ts";
import { bootGuest, type CommandResult, guestTimeout, HIDE_BTF, text } from "./guest.ts";
import { ARCHITECTURES, chosenKernels, type LabKernel, loadKernel } from "./kernels.ts";

/** How often the same question is asked, with the kernel's BTF there and again with it hidden. */
const runsOf = ({ usual, architecture }: LabKernel): number => (usual && architecture === "amd64" ? 20 : 3);

/** The best rung of every struct. */
const ATTACHED = [
  "kprobe:tcp_getsockopt",
  "raw_tp:fib_table_lookup",
  "raw_tp:fib6_table_lookup",
  "raw_tp:net_dev_queue",
  "kprobe:nf_conntrack_hash_check_insert",
];

const documentOf = ({ status, stdout, stderr }: CommandResult): Document => {
  if (status !== 0) throw new Error(`exit ${status}: ${text(stdout)}${text(stderr)}`);
  return v.parse(documentSchema, jsonOf("document", text(stdout)));
};

for (const row of chosenKernels(ARCHITECTURES)) {
  test(
    `${row.name}: the guess equals the kernel's BTF, with it and without it, every time`,
    async () => {
      const kernel = await loadKernel(row);
      const expected = await trueConstants(kernel.btf);
      expect(Object.values(expected)).not.toContain(null);

      const runs = runsOf(row);
      const ask = Array.from({ length: runs }, () => "/opt/offsetof kernel --format json");
      const { results } = await bootGuest({
        kernel,
        commands: [...ask, HIDE_BTF, ...ask],
        files: { "/opt/offsetof": { from: await executableFor(row.architecture) } },
        modules: ["nf_conntrack_netlink"],
      });
      const shown = results.slice(0, runs).map(documentOf);
      const hidden = results.slice(runs + 1).map(documentOf);
      expect(hidden.length).toBe(runs);
      for (const [documents, status] of [
        [shown, "confirmed"],
        [hidden, "single"],
      ] as const) {
        for (const { host, kernel: report } of documents) {
          expect(host.kernel.release).toBe(kernel.release);
          expect(host.btf).toBe(status === "confirmed");
          expect(report?.constants).toEqual(expected);
          expect(report?.attached).toEqual(ATTACHED);
          // Around 60; a dead namespace whose number came again costs a third one and a few more (docs/design/guess.md).
          expect(report?.events).toBeLessThanOrEqual(120 * (report?.attempts ?? 1));
          for (const [constant, field] of Object.entries(report?.fields ?? {})) {
            const isMeasured = kernelFields.some((each) => each.constant === constant);
            if (isMeasured) expect(field.status).toBe(status);
          }
        }
      }
    },
    guestTimeout,
  );
}
