import { expect, test } from "bun:test";
import * as v from "valibot";
import { kernelFields } from "../../src/kernel/fields/fields.ts";
import { documentSchema } from "../../src/output/document.ts";
import { jsonOf } from "../schema.ts";
import { CLASSIC } from "./constants.ts";
import { executableFor } from "./executable.ts";
import { bootGuest, guestTimeout, HIDE_BTF, text } from "./guest.ts";
import { ARCHITECTURES, chosenKernels, loadKernel } from "./kernels.ts";
import { truthOf } from "./truth.ts";

const ASK = "/opt/offsetof kernel --strategy stepwise --format json";
/** From here on the kernel says that it has no kprobes. */
const WITHOUT_KPROBES =
  "mount -t debugfs none /sys/kernel/debug; echo 0 > /sys/kernel/debug/kprobes/enabled && grep -q 0 /sys/kernel/debug/kprobes/enabled";

for (const row of chosenKernels(ARCHITECTURES, ["amd64"])) {
  test(
    `${row.name}: stepwise tells the truth, with the kernel's BTF hidden, every time`,
    async () => {
      const kernel = await loadKernel(row);
      const fields = kernelFields.filter(({ constant }) => CLASSIC.includes(constant));
      expect(fields.length).toBe(CLASSIC.length);
      const truth = await truthOf(
        kernel.btf,
        fields.map(({ member }) => member),
      );
      const asked = Array.from({ length: row.usual ? 10 : 3 }, () => ASK);
      const { results } = await bootGuest({
        kernel,
        commands: [HIDE_BTF, ...asked, WITHOUT_KPROBES, ...asked],
        files: { "/opt/offsetof": { from: await executableFor(row.architecture) } },
      });
      expect(results.length).toBe(2 * asked.length + 2);
      for (const [index, { status, stdout, stderr }] of results.entries()) {
        if (index === 0 || index === asked.length + 1) {
          expect(status).toBe(0);
          continue;
        }
        if (stdout.length === 0) throw new Error(text(stderr));
        const { kernel: report, host } = v.parse(documentSchema, jsonOf("document", text(stdout)));
        expect(host.btf).toBe(false);
        expect(report).toMatchObject({
          bytecode: "socket_stepwise",
          strategy: "stepwise",
          attached: [index > asked.length ? "raw_tp:tcp_rcv_space_adjust" : "kprobe:tcp_getsockopt"],
        });
        for (const { constant, member } of fields) {
          const offset = truth.get(member) ?? -1;
          expect(report?.fields[constant]).toMatchObject({ value: offset, evidence: { guess: [offset] } });
        }
        // The classic algorithm: an event a candidate, and a few for each field that was found.
        expect(report?.events).toBeGreaterThan(1000);
      }
    },
    guestTimeout,
  );
}
