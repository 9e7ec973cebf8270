import { expect, test } from "bun:test";
import * as v from "valibot";
import { version } from "../../package.json";
import { documentSchema } from "../../src/output/document.ts";
import { verifySchema } from "../../src/output/verify-schema.ts";
import { jsonOf } from "../schema.ts";
import { truthOf } from "../truth/read.ts";
import { trueConstants } from "./constants.ts";
import { executableFor } from "./executable.ts";
import { bootGuest, guestTimeout, HIDE_BTF, LOG, NO_STALLS, text } from "./guest.ts";
import { chosenKernels, loadKernel } from "./kernels.ts";

/** The package with libssl in a suite, and the headers whose layout it has (test/truth). */
const LIBSSL: Readonly<Record<string, readonly [name: string, truth: string]>> = {
  bookworm: ["libssl3", "openssl-3.0.20"],
  trixie: ["libssl3t64", "openssl-3.5.7"],
  sid: ["libssl3t64", "openssl-3.6.3"],
};

/** What libcrypto needs from trixie on: without it the library cannot be run. */
const NEEDED = ["zlib1g", "libzstd1"];
const LIBRARY = "/usr/lib/aarch64-linux-gnu/libssl.so.3";
const ELF_MAGIC = "7f 45 4c 46";

for (const row of chosenKernels(["arm64"], [])) {
  test(
    `${row.name}: what every command says is true, and the kernel's log says nothing of it`,
    async () => {
      const [libssl = "", headers = ""] = LIBSSL[row.suite] ?? [];
      const commands = {
        before: LOG,
        version: "/opt/offsetof --version",
        config: "/opt/offsetof config --format json",
        detect: "/opt/offsetof detect --format json",
        run: "/opt/offsetof run --format json",
        kernel: "/opt/offsetof kernel --format env",
        header: "/opt/offsetof kernel --format header",
        tls: `/opt/offsetof tls ${LIBRARY} --format json`,
        all: "/opt/offsetof tls --all --format json",
        live: `/opt/offsetof verify tls ${LIBRARY} --format json`,
        list: "/opt/offsetof bytecode list --format json",
        extract:
          "/opt/offsetof bytecode extract --for kernel -o /tmp/kernel.o >/dev/null && head -c 4 /tmp/kernel.o | od -An -tx1",
        tlsObject: `/opt/offsetof bytecode extract --for ${LIBRARY} --allow-missing -o /tmp/tls.o >/dev/null; head -c 4 /tmp/tls.o | od -An -tx1`,
        btf: "/opt/offsetof btf -o /tmp/kernel.btf && head -c 4 /tmp/kernel.btf | od -An -tx1",
        gateway: "/opt/offsetof gateway 127.0.0.2 127.0.0.1 --format json",
        verify: "/opt/offsetof verify kernel --format json",
        old: "/opt/offsetof verify kernel --bytecode old --format json",
        hide: HIDE_BTF,
        hidden: "/opt/offsetof verify kernel --format json",
        stepwise: "/opt/offsetof verify kernel --strategy stepwise --format json",
        // From here on the musl inside serves.
        bare: "rm /lib/ld-linux-aarch64.so.1 && echo gone",
        bareRun: "/opt/offsetof run --format json",
        bareTls: `/opt/offsetof tls ${LIBRARY} --format json`,
        bareVerify: "/opt/offsetof verify kernel --format json",
        after: LOG,
      };
      const kernel = await loadKernel(row);
      const { results } = await bootGuest({
        kernel,
        commands: Object.values(commands),
        files: { "/opt/offsetof": { from: await executableFor(row.architecture) } },
        packages: [libssl, ...NEEDED],
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
      expect(result("version").stdout.trim()).toBe(version);
      for (const name of ["config", "list"] as const) expect([name, result(name).status]).toEqual([name, 0]);
      for (const name of ["extract", "tlsObject"] as const)
        expect([name, result(name).stdout.trim()]).toEqual([name, ELF_MAGIC]);
      for (const name of ["verify", "old", "hidden", "stepwise", "bareVerify"] as const) {
        const { verify } = v.parse(verifySchema, jsonOf("verify", result(name).stdout));
        expect([name, result(name).status, verify.kernel?.not_compared]).toEqual([name, 0, []]);
      }
      const known = await trueConstants(kernel.btf);
      expect(Object.values(known)).not.toContain(null);
      const run = v.parse(documentSchema, jsonOf("document", result("run").stdout));
      expect(run.kernel?.constants).toEqual(known);
      const numbers = (text: string, pattern: RegExp): Record<string, number | null> =>
        Object.fromEntries(
          [...text.matchAll(pattern)].map(([, name = "", value]) => [name.toLowerCase(), Number(value)]),
        );
      expect(numbers(result("kernel").stdout, /^(\w+)=(\d+)$/gm)).toEqual(known);
      expect(numbers(result("header").stdout, /^#define (\w+) (\d+)$/gm)).toMatchObject(known);

      const truth = truthOf(headers);
      const { tls } = v.parse(documentSchema, jsonOf("document", result("tls").stdout));
      const all = v.parse(documentSchema, jsonOf("document", result("all").stdout));
      expect(all.tls?.find(({ path }) => path === tls?.[0]?.path)?.constants).toEqual(
        tls?.[0]?.constants ?? {},
      );
      const proof = v.parse(verifySchema, jsonOf("verify", result("live").stdout));
      const items = proof.verify.tls?.flatMap(({ items }) => Object.entries(items)) ?? [];
      expect(items.length).toBeGreaterThan(5);
      for (const [item, { compared, held }] of items) expect([item, held]).toEqual([item, compared]);
      const fields = Object.values(tls?.[0]?.fields ?? {});
      const compared = fields.filter(({ member, value }) => value !== null && truth[member] !== undefined);
      for (const { member, value } of compared)
        expect([member, value]).toEqual([member, truth[member] ?? -1]);
      expect(compared.filter(({ status }) => status === "confirmed").length).toBeGreaterThan(10);

      const bare = v.parse(documentSchema, jsonOf("document", result("bareRun").stdout));
      expect([run.tool.libc, bare.tool.libc]).toEqual([
        expect.stringMatching(/^glibc 2\.\d+$/),
        "musl 1.2.5",
      ]);
      expect(bare.kernel?.constants).toEqual(known);
      // The library is glibc's: its code and the tables answer.
      const unprobed = v.parse(documentSchema, jsonOf("document", result("bareTls").stdout));
      const told = Object.values(unprobed.tls?.[0]?.fields ?? {}).filter(({ value }) => value !== null);
      expect(told.length).toBeGreaterThan(5);
      for (const { member, value } of told)
        if (truth[member] !== undefined) expect([member, value]).toEqual([member, truth[member]]);
    },
    guestTimeout,
  );
}
