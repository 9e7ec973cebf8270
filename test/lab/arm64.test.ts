import { expect, test } from "bun:test";
import * as v from "valibot";
import { documentSchema, verifySchema } from "../../src/output/document.ts";
import { jsonOf } from "../schema.ts";
import { truthOf } from "../truth/read.ts";
import { executableFor } from "./executable.ts";
import { bootGuest, guestTimeout, HIDE_BTF, text } from "./guest.ts";
import { chosenKernels, loadKernel } from "./kernels.ts";

/** The kernel's log without what a boot still says of its clock. */
const LOG = "dmesg | grep -viE 'clocksource|random: ' || true";
/** A guest that got no time from a busy machine is no finding. */
const NO_STALLS = "rcupdate.rcu_cpu_stall_suppress=1";
/** The package with libssl in a suite, and the headers whose layout it has (test/truth). */
const LIBSSL: Readonly<Record<string, readonly [name: string, truth: string]>> = {
  bookworm: ["libssl3", "openssl-3.0.20"],
  trixie: ["libssl3t64", "openssl-3.5.7"],
  sid: ["libssl3t64", "openssl-3.6.3"],
};

for (const row of chosenKernels(["arm64"], [])) {
  test(
    `${row.name}: what every command says is true, and the kernel's log says nothing of it`,
    async () => {
      const [libssl = "", headers = ""] = LIBSSL[row.suite] ?? [];
      const commands = {
        before: LOG,
        detect: "/opt/offsetof detect --format json",
        run: "/opt/offsetof run --format json",
        tls: "/opt/offsetof tls /usr/lib/aarch64-linux-gnu/libssl.so.3 --format json",
        btf: "/opt/offsetof btf -o /tmp/kernel.btf && head -c 4 /tmp/kernel.btf | od -An -tx1",
        gateway: "/opt/offsetof gateway 127.0.0.2 127.0.0.1 --format json",
        verify: "/opt/offsetof verify kernel --format json",
        old: "/opt/offsetof verify kernel --bytecode old --format json",
        hide: HIDE_BTF,
        hidden: "/opt/offsetof verify kernel --format json",
        stepwise: "/opt/offsetof verify kernel --strategy stepwise --format json",
        after: LOG,
      };
      const { results } = await bootGuest({
        kernel: await loadKernel(row),
        commands: Object.values(commands),
        files: { "/opt/offsetof": { from: await executableFor(row.architecture) } },
        packages: [libssl],
        modules: ["nf_conntrack_netlink"],
        append: [NO_STALLS],
        memoryMiB: 2048,
      });
      const result = (name: keyof typeof commands) => {
        const found = results[Object.keys(commands).indexOf(name)];
        if (found === undefined || found.stdout.length === 0)
          throw new Error(`${name}: ${text(found?.stderr ?? new Uint8Array())}`);
        return { status: found.status, stdout: text(found.stdout) };
      };
      expect(result("after").stdout).toBe(result("before").stdout);
      expect(result("detect").status).toBe(0);
      expect(result("btf").stdout.trim()).toBe("9f eb 01 00");
      expect(result("gateway").status).toBe(0);
      for (const name of ["verify", "old", "hidden", "stepwise"] as const) {
        const { verify } = v.parse(verifySchema, jsonOf("verify", result(name).stdout));
        expect([name, result(name).status, verify.kernel?.not_compared]).toEqual([name, 0, []]);
      }
      const { kernel } = v.parse(documentSchema, jsonOf("document", result("run").stdout));
      expect(Object.values(kernel?.constants ?? {})).not.toContain(null);

      const truth = truthOf(headers);
      const { tls } = v.parse(documentSchema, jsonOf("document", result("tls").stdout));
      const fields = Object.values(tls?.[0]?.fields ?? {});
      const compared = fields.filter(({ member, value }) => value !== null && truth[member] !== undefined);
      for (const { member, value } of compared)
        expect([member, value]).toEqual([member, truth[member] ?? -1]);
      expect(compared.filter(({ status }) => status === "confirmed").length).toBeGreaterThan(10);
    },
    guestTimeout,
  );
}
