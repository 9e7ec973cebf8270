import { expect, test } from "bun:test";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { run } from "../../assets/build/run.ts";
import { kernelFields } from "../../src/kernel/fields/fields.ts";
import { buildCoreReader, foreignObject, readsTruth } from "../core/reader.ts";
import { bootGuest, guestTimeout, HIDE_BTF, text } from "./guest.ts";
import { chosenKernels, loadKernel } from "./kernels.ts";
import { tracedDiffers, uapiDiffers } from "./layouts.ts";
import { truthOf } from "./truth.ts";

const ROOT = join(import.meta.dir, "../..");
const LOAD = "/opt/loader /opt/libbpf.so /opt/reader.bpf.o";

for (const row of chosenKernels()) {
  test(
    `${row.name}: what is declared without measuring is as this kernel's BTF has it`,
    async () => {
      const { btf, release } = await loadKernel(row);
      const scratch = join(tmpdir(), `offsetof-uapi-${row.name}-${process.pid}.btf`);
      try {
        const version = release.split(".").map(Number.parseFloat);
        expect(uapiDiffers({ machine: "x64", version, file: btf }, scratch).wrong).toEqual([]);
      } finally {
        await Bun.file(scratch).delete();
      }
    },
    guestTimeout,
  );

  test(
    `${row.name}: without BTF a CO-RE program loads with offsetof's, and reads the truth`,
    async () => {
      const [kernel, core] = [await loadKernel(row), await buildCoreReader()];
      const { results } = await bootGuest({
        kernel,
        commands: [
          // Tracepoints that users made and called as one of the kernel's classes.
          `cd /sys/kernel/tracing && echo 'p:mine/block_rq tcp_close' >kprobe_events && [ -e events/mine/block_rq/format ]`,
          HIDE_BTF,
          LOAD,
          "/opt/offsetof btf -o /tmp/kernel.btf && cat /tmp/kernel.btf",
          `${LOAD} /tmp/kernel.btf`,
          "/opt/loader /opt/libbpf.so /opt/tcpconnect.bpf.o /tmp/kernel.btf",
          "/opt/offsetof btf -o /tmp/again.btf && cat /tmp/again.btf",
        ],
        files: {
          "/opt/offsetof": { from: join(ROOT, "dist/offsetof") },
          "/opt/libbpf.so": { from: join(ROOT, "assets/lib/x64/libbpf.so") },
          "/opt/loader": { from: core.loader },
          "/opt/reader.bpf.o": { from: core.object },
          "/opt/tcpconnect.bpf.o": { content: await foreignObject("tcpconnect") },
        },
        packages: ["conntrack", "libnetfilter-conntrack3", "libnfnetlink0", "libmnl0"],
        modules: ["nf_conntrack_netlink"],
        mounts: ["tracefs"],
      });
      const [dynamic, , without, made, loaded, foreign, again] = results;
      if (without === undefined || made === undefined || loaded === undefined || again === undefined)
        throw new Error("a command did not run");
      expect(dynamic).toMatchObject({ status: 0 });
      expect(without).toMatchObject({ status: 2 });
      expect(text(without.stderr)).toContain("failed to find valid kernel BTF");

      expect({ status: made.status, stderr: text(made.stderr) }).toEqual({ status: 0, stderr: "" });
      expect(foreign).toMatchObject({ status: 0 });
      const members = kernelFields.map(({ member }) => member);
      const file = join(tmpdir(), `offsetof-${row.name}-${process.pid}.btf`);
      try {
        // What the crawl cannot tell apart in one run it may in another: true are both.
        for (const { stdout } of [again, made]) {
          await Bun.write(file, stdout);
          expect(await truthOf(file, members)).toEqual(await truthOf(kernel.btf, members));
        }
        const traced = tracedDiffers(file, kernel.btf);
        expect(traced.wrong).toEqual([]);
        expect(traced.compared).toBeGreaterThan(1500);
        expect((await run(["pahole", "-F", "btf", "-C", "nf_conn", file])).stdout).toContain("tuplehash[2]");
      } finally {
        await Bun.file(file).delete();
      }
      expect({ status: loaded.status, stderr: text(loaded.stderr) }).toMatchObject({ status: 0 });
      expect(readsTruth(text(loaded.stdout))).toHaveProperty("ct");
    },
    guestTimeout,
  );
}
