import { describe, expect, test } from "bun:test";
import * as v from "valibot";
import { documentSchema } from "../../src/output/document.ts";
import { jsonOf } from "../schema.ts";
import { executableFor } from "./executable.ts";
import { bootGuest, type CommandResult, guestTimeout, LOG, NO_STALLS, text } from "./guest.ts";
import { ARCHITECTURES, chosenKernels, loadKernel } from "./kernels.ts";

const ASK = "/opt/offsetof kernel --format json";

const out = (result: CommandResult | undefined): string => text(result?.stdout ?? new Uint8Array());
const documentOf = (result: CommandResult | undefined) =>
  v.parse(documentSchema, jsonOf("document", out(result)));
const attachedIn = (result: CommandResult | undefined) => documentOf(result).kernel?.attached ?? [];
const isKprobe = (where: string): boolean => where.startsWith("kprobe:");

for (const row of chosenKernels(ARCHITECTURES, ["amd64"])) {
  describe(row.name, () => {
    test(
      "lockdown=integrity, ftrace off and on, conntrack full: not a line in the kernel's log",
      async () => {
        const commands = {
          before: LOG,
          detect: "/opt/offsetof detect --format json",
          plain: ASK,
          verify: "/opt/offsetof verify kernel --format json",
          without: `echo 0 >/proc/sys/kernel/ftrace_enabled; ${ASK}`,
          again: `echo 1 >/proc/sys/kernel/ftrace_enabled; ${ASK}`,
          full: `echo 1 >/proc/sys/net/netfilter/nf_conntrack_max; ${ASK}`,
          after: LOG,
        };
        const { results } = await bootGuest({
          kernel: await loadKernel(row),
          commands: Object.values(commands),
          files: { "/opt/offsetof": { from: await executableFor(row.architecture) } },
          modules: ["nf_conntrack_netlink"],
          mounts: ["securityfs", "debugfs"],
          append: ["lockdown=integrity", NO_STALLS],
        });
        const result = (name: keyof typeof commands) => results[Object.keys(commands).indexOf(name)];
        expect(out(result("after"))).toBe(out(result("before")));
        expect(documentOf(result("plain")).host.lockdown).toBe("integrity");
        expect(attachedIn(result("plain")).some(isKprobe)).toBe(true);
        expect(result("verify")?.status).toBe(0);
        // Without ftrace tracepoints serve, and the kprobes come back with it.
        expect(attachedIn(result("without"))).toContain("raw_tp:inet_sock_set_state");
        expect(attachedIn(result("without")).some(isKprobe)).toBe(false);
        expect(documentOf(result("without")).kernel?.fields.offset_ct_origin?.evidence).not.toHaveProperty(
          "guess",
        );
        expect(attachedIn(result("again"))).toEqual(attachedIn(result("plain")));
        const { kernel } = documentOf(result("full"));
        expect(kernel?.fields.offset_ct_origin?.evidence).not.toHaveProperty("guess");
        expect(kernel?.fields.offset_rtt?.status).toBe("confirmed");
      },
      guestTimeout,
    );

    test(
      "lockdown=confidentiality: neither verify nor btf tries what it forbids",
      async () => {
        const verify = "/opt/offsetof verify kernel --format json; /opt/offsetof verify tls --format json";
        const { results } = await bootGuest({
          kernel: await loadKernel(row),
          commands: [
            LOG,
            `${verify}; /opt/offsetof btf -o /run/kernel.btf; /opt/offsetof kernel --all --format json; true`,
            "/opt/offsetof verify kernel --format json",
            LOG,
          ],
          files: { "/opt/offsetof": { from: await executableFor(row.architecture) } },
          mounts: ["securityfs", "tracefs"],
          append: ["lockdown=confidentiality", NO_STALLS],
        });
        const [before, , refused, after] = results;
        expect(refused?.status).toBe(4);
        expect(text(refused?.stderr ?? new Uint8Array())).toContain("lockdown");
        expect(out(after)).toBe(out(before));
      },
      guestTimeout,
    );
  });
}
