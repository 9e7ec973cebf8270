/**
 * What the files of real kernels tell, against what others read in them and what the same kernels say when they run: of every row
 * that OFFSETOF_LAB names the package that Debian ships; without it the kernels that npm test boots.
 */
import { describe, expect, test } from "bun:test";
import * as v from "valibot";
import { diffSchema } from "../../src/output/diff-schema.ts";
import { type Document, documentSchema } from "../../src/output/document.ts";
import { executable, run } from "../e2e/executable.ts";
import { jsonOf } from "../schema.ts";
import { trueConstants } from "./constants.ts";
import { executableFor } from "./executable.ts";
import { bootGuest, guestTimeout, text } from "./guest.ts";
import { askedFor, chosenKernels, LAB_KERNELS, labKernel, loadKernel } from "./kernels.ts";
import { loadDebianKernel, loadKernelPackage } from "./packages.ts";

const documentIn = (json: string): Document => v.parse(documentSchema, jsonOf("document", json));
const linesOf = (stdout: string): Document[] => stdout.trimEnd().split("\n").map(documentIn);

test(
  "the files of kernels of both architectures tell what bpftool reads in them",
  async () => {
    const kernels = await Promise.all(chosenKernels(["amd64", "arm64"]).map(loadKernel));
    const files = kernels.flatMap(({ vmlinux, btf }) => [vmlinux, btf]);
    if (files.length === 0) return;
    const { status, stdout, stderr } = run([executable, "kernel", "--format", "json", "--image", ...files]);
    expect([stderr, status]).toEqual(["", 0]);
    const documents = linesOf(stdout);
    for (const [index, { row, release, btf }] of kernels.entries()) {
      const [elf, raw] = documents.slice(index * 2);
      expect(elf?.kernel?.image?.build_id).toMatch(/^[0-9a-f]{40}$/);
      expect([elf?.host.kernel.release, raw?.host.kernel.release]).toEqual([release, "unknown"]);
      const truth = await trueConstants(btf);
      for (const one of [elf, raw]) {
        expect(one?.tool.arch).toBe(row.architecture === "arm64" ? "arm64" : "x64");
        expect(one?.kernel?.constants).toEqual(truth);
      }
    }
  },
  guestTimeout,
);

for (const row of askedFor(LAB_KERNELS, (name) => !name.startsWith("source-")) ?? [])
  describe(row.name, () => {
    test(
      "package, vmlinuz and what is in it tell what the kernel says when it runs",
      async () => {
        const { deb, vmlinuz, vmlinux, btf, release } = await loadKernelPackage(row);
        const files = [deb, vmlinuz, vmlinux];
        const read = run([
          "time",
          "--quiet",
          "-f",
          "%M",
          executable,
          "kernel",
          "--format",
          "json",
          "--image",
          ...files,
        ]);
        expect(read.status).toBe(0);
        // Kilobytes: an xz dictionary of 128 MiB, and the runtime. The kernel lies in a file in memory besides.
        expect(Number(read.stderr)).toBeLessThan(400_000);
        const documents = linesOf(read.stdout);
        expect(documents.map(({ kernel }) => kernel?.image?.path.split(": ")[0])).toEqual(files);

        const { results } = await bootGuest({
          kernel: { row, vmlinux, modules: async () => [] },
          commands: ["/opt/offsetof kernel --source btf --format json", "cat /sys/kernel/notes"],
          files: { "/opt/offsetof": { from: await executableFor(row.architecture) } },
        });
        const [told, notes] = results;
        const booted = documentIn(text(told?.stdout ?? new Uint8Array()));
        const [, buildId] =
          /040000001400000003000000474e5500(.{40})/.exec(Buffer.from(notes?.stdout ?? []).toString("hex")) ??
          [];
        expect(booted.kernel?.constants).toEqual(await trueConstants(btf));
        expect(booted.host.kernel.release).toBe(release);
        for (const { host, kernel } of documents) {
          expect(host.kernel).toEqual(booted.host.kernel);
          expect(kernel?.constants).toEqual(booted.kernel?.constants ?? {});
          expect(kernel?.fields).toEqual(booted.kernel?.fields ?? {});
          expect(kernel?.image?.build_id).toBe(buildId ?? "none");
        }
      },
      guestTimeout,
    );
  });

test.skipIf(!process.env.OFFSETOF_LAB)(
  "what an upgrade within one series moves is told by its two packages",
  async () => {
    const old = await loadDebianKernel("bookworm", "linux-image-6.1.0-47-cloud-amd64");
    const { deb } = await loadKernelPackage(labKernel("6.1-cloud"));
    const { status, stdout } = run([executable, "diff", old, deb, "--format", "json"]);
    const { kernel } = v.parse(diffSchema, jsonOf("diff", stdout)).diff;
    expect(status).toBe(3);
    expect(kernel?.from.release).toBe("6.1.0-47-cloud-amd64");
    expect(kernel?.constants.offset_rtt).toMatchObject({ change: "moved", from: 1632, to: 1672 });
  },
  guestTimeout,
);
