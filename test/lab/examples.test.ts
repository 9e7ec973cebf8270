/**
 * Programs of docs/examples on Debian kernels, with Debian's bpftrace, bcc and Go library. Heavy: only where OFFSETOF_LAB asks for it.
 * Truth is the guest's own connection; the kernel's BTF is hidden.
 */
import { describe, expect, test } from "bun:test";
import { join } from "node:path";
import { buildCilium } from "../core/cilium.ts";
import { buildExamples, examples } from "../examples.ts";
import { executableFor } from "./executable.ts";
import { bootGuest, guestTimeout, HIDE_BTF, text } from "./guest.ts";
import { chosenKernels, loadKernel } from "./kernels.ts";

/** What bpftrace and bcc are linked with, and what bcc compiles with. */
const packages = [
  ...[
    "bpftrace",
    "python3-bpfcc",
    "libbpfcc",
    "libbpf1",
    "libclang1-14",
    "libllvm14",
    "libdw1",
    "libelf1",
    "zlib1g",
  ],
  ...[
    "libstdc++6",
    "libgcc-s1",
    "libedit2",
    "libbsd0",
    "libmd0",
    "libtinfo6",
    "libffi8",
    "libz3-4",
    "libxml2",
    "libicu72",
  ],
  ...["liblzma5", "libbz2-1.0", "libzstd1", "libexpat1", "python3.11-minimal", "libpython3.11-minimal"],
  ...["libpython3.11-stdlib", "libssl3", "libncursesw6", "libreadline8", "libclang-cpp14"],
];

const rows = process.env.OFFSETOF_LAB === undefined ? [] : chosenKernels(["amd64"], ["amd64"]);
for (const row of rows.filter(({ suite }) => suite === "bookworm")) {
  describe(row.name, () => {
    test(
      "the examples in C, Go and bpftrace print the connection that is made",
      async () => {
        const { object, program } = await buildExamples();
        const runs = {
          c: "/opt/connections baked.o kernel.btf",
          go: "/opt/connections-go /opt/connections.o kernel.json kernel.elf",
          bpftrace: "bpftrace --include ./offsets.h /opt/connections.bt",
        };
        const { results } = await bootGuest({
          kernel: await loadKernel(row),
          commands: [
            HIDE_BTF,
            `cd /tmp; /opt/offsetof bytecode edit /opt/connections.o -o baked.o >/dev/null
             /opt/offsetof btf -o kernel.btf; /opt/offsetof btf --elf -o kernel.elf
             /opt/offsetof kernel --format json > kernel.json; /opt/offsetof kernel --format header > offsets.h; ls -l`,
            `cd /tmp; ${Object.entries(runs)
              .map(([name, line]) => `${line} >${name} 2>${name}.err & echo $! >>pids`)
              .join("\n")}
             tries=0; for one in ${Object.keys(runs).join(" ")}; do
               until grep -q watching $one $one.err || [ $tries = 120 ]; do sleep 1; tries=$((tries+1)); done; done
             sleep 2; echo hello | nc -l -p 4242 >/dev/null & sleep 1; nc 127.0.0.1 4242 </dev/null; sleep 3; kill $(cat pids)`,
            ...Object.keys(runs).map((name) => `cat /tmp/${name} /tmp/${name}.err`),
          ],
          files: {
            "/opt/offsetof": { from: await executableFor("amd64") },
            "/opt/connections.o": { from: object },
            "/opt/connections": { from: program },
            "/opt/connections-go": { from: await buildCilium(join(examples, "connections.go")) },
            "/opt/connections.bt": { from: join(examples, "connections.bt") },
          },
          packages,
          mounts: ["tracefs", "debugfs"],
          memoryMiB: 3072,
        });
        for (const [index, name] of Object.keys(runs).entries()) {
          const output = text(results[index + 3]?.stdout ?? new Uint8Array());
          expect([name, output]).toEqual([name, expect.stringMatching(/^127\.0\.0\.1:4242 from port \d+$/m)]);
        }
      },
      guestTimeout,
    );
  });
}
