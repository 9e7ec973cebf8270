/** 100,000 documents of a fleet of 24 kernels, one of which lies about one number: `OFFSETOF_ENGINES=merge bun test test/engines`. */
import { expect, test } from "bun:test";
import * as v from "valibot";
import { mergeSchema } from "../../src/output/merge-schema.ts";
import { documentOf, executable, run } from "../e2e/executable.ts";
import { jsonOf } from "../schema.ts";

const isAsked = /\bmerge\b|^all$/.test(process.env.OFFSETOF_ENGINES ?? "");
const DOCUMENTS = 100_000;
const KERNELS = 24;
const LIAR = 65_432;
/** Bytes. Documents are a hundred times as many. */
const mostMemory = 512 << 20;

test.skipIf(!isAsked)(
  "100,000 documents in bounded memory: the planted liar is named, and nobody else",
  async () => {
    const libraries = ["libssl.so.3", "libgnutls.so.30"].map((name) => `/usr/lib/x86_64-linux-gnu/${name}`);
    const { tls } = documentOf(run([executable, "tls", ...libraries, "--format", "json"]));
    const own = documentOf(run([executable, "kernel", "--format", "json"]));
    const { kernel } = own;
    if (kernel === undefined) throw new Error("no kernel");
    const texts = Array.from({ length: KERNELS }, (_, index) => {
      const release = `6.1.0-${index}-amd64`;
      const host = { ...own.host, kernel: { ...own.host.kernel, release } };
      return `${JSON.stringify({ ...own, host, tls })}\n`;
    });
    const truth = kernel.constants.offset_dport ?? -1;
    const fields = { ...kernel.fields, offset_dport: { ...kernel.fields.offset_dport, value: truth + 4 } };
    const constants = { ...kernel.constants, offset_dport: truth + 4 };
    const release = `6.1.0-${LIAR % KERNELS}-amd64`;
    const host = { ...own.host, kernel: { ...own.host.kernel, release } };
    const lie = `${JSON.stringify({ ...own, host, kernel: { ...kernel, constants, fields }, tls })}\n`;

    const start = performance.now();
    const child = Bun.spawn([executable, "merge", "-", "--format", "json"], {
      stdin: "pipe",
      stdout: "pipe",
      stderr: "inherit",
    });
    const out = new Response(child.stdout).text();
    let bytes = 0;
    for (let number = 1; number <= DOCUMENTS; number++) {
      const text = number === LIAR ? lie : (texts[number % KERNELS] ?? "");
      bytes += text.length;
      child.stdin.write(text);
      await child.stdin.flush();
    }
    await child.stdin.end();
    const merged = v.parse(mergeSchema, jsonOf("merge", await out));
    expect(await child.exited).toBe(3);
    const { maxRSS, cpuTime } = child.resourceUsage() ?? { maxRSS: 0, cpuTime: { total: 0n } };
    const figures = [
      `${DOCUMENTS} documents, ${(bytes / 2 ** 30).toFixed(2)} GiB`,
      `${((performance.now() - start) / 1000).toFixed(1)} s`,
      `${(Number(cpuTime.total) / 1e6).toFixed(1)} s of processor`,
      `${(maxRSS / 2 ** 20).toFixed(0)} MiB`,
    ];
    console.log(figures.join(", "));
    expect(merged.documents).toBe(DOCUMENTS);
    expect(merged.layouts.kernels).toHaveLength(KERNELS);
    expect(merged.odd).toEqual([
      {
        machine: `stdin:${LIAR}`,
        arch: own.tool.arch,
        release,
        constants: { offset_dport: { told: truth + 4, others: truth } },
      },
    ]);
    expect(maxRSS).toBeLessThan(mostMemory);
  },
);
