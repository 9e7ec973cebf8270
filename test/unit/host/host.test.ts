import { afterAll, expect, test } from "bun:test";
import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { dirname, join } from "node:path";
import { gzipSync } from "node:zlib";
import * as v from "valibot";
import { hostFiles } from "../../../src/host/files.ts";
import { hostReport, probeHost } from "../../../src/host/host.ts";
import { readConfig } from "../../../src/host/kconfig.ts";
import { hostSchema } from "../../../src/output/document.ts";

const folders: string[] = [];
afterAll(() => {
  for (const folder of folders) rmSync(folder, { recursive: true });
});

/** A folder that looks like the root of a host with these files. */
function host(files: Record<string, string | Uint8Array>): string {
  const root = mkdtempSync(join(tmpdir(), "offsetof-host-"));
  folders.push(root);
  for (const [path, content] of Object.entries(files)) {
    mkdirSync(dirname(join(root, path)), { recursive: true });
    writeFileSync(join(root, path), content);
  }
  return root;
}

test("this machine's release is the one uname tells", () => {
  const { report } = hostReport(probeHost());
  v.parse(hostSchema, report);
  expect(report.kernel.release).toBe(Bun.spawnSync(["uname", "-r"]).stdout.toString().trim());
  expect(report.kernel.machine).toBe(Bun.spawnSync(["uname", "-m"]).stdout.toString().trim());
});

test("an empty root knows nothing, and says so of everything", () => {
  const { report, diagnostics } = hostReport(probeHost(hostFiles(host({}))));
  v.parse(hostSchema, report);
  expect(report).toMatchObject({ lockdown: null, btf: null, kprobes: null, tracefs: null, privileges: [] });
  expect(diagnostics.map(({ code }) => code)).toEqual([
    "W_DISTRO_UNKNOWN",
    "W_LOCKDOWN_UNKNOWN",
    "W_BTF_UNKNOWN",
    "W_KPROBES_UNKNOWN",
    "W_RAW_TRACEPOINTS_UNKNOWN",
    "W_TRACEFS_UNKNOWN",
  ]);
});

test("a Debian host with securityfs and tracefs knows everything", () => {
  const root = host({
    "proc/version":
      "Linux version 6.1.0-56-cloud-amd64 (debian-kernel@lists.debian.org) (gcc-12) #1 SMP PREEMPT_DYNAMIC Debian 6.1.192-2 (2026-11-16)\n",
    "proc/sys/kernel/osrelease": "6.1.0-56-cloud-amd64\n",
    "proc/sys/kernel/unprivileged_bpf_disabled": "2\n",
    "proc/self/status": "CapEff:\t000001ffffffffff\nSeccomp:\t0\n",
    "proc/self/uid_map": "         0          0 4294967295\n",
    "proc/self/mounts": "tracefs /sys/kernel/tracing tracefs rw 0 0\n",
    "sys/kernel/security/lockdown": "[none] integrity confidentiality\n",
    "sys/kernel/btf/vmlinux": new Uint8Array([0x9f, 0xeb, 1, 0]),
    "sys/kernel/tracing/README": "tracing mini-HOWTO:\n",
    "sys/bus/event_source/devices/kprobe/type": "8\n",
  });
  const { report, diagnostics } = hostReport(probeHost(hostFiles(root)));
  expect(report).toMatchObject({
    kernel: { release: "6.1.0-56-cloud-amd64", version: [6, 1, 192], distro: "debian" },
    lockdown: "none",
    btf: true,
    kprobes: true,
    raw_tracepoints: true,
    tracefs: true,
  });
  expect(report.privileges).toHaveLength(41);
  expect(diagnostics).toEqual([]);
});

test("the config comes from /proc/config.gz, or from /boot when that one is broken", () => {
  const packed = gzipSync("CONFIG_KPROBES=y\n");
  const boot = { "boot/config-6.1.0": "CONFIG_BPF=y\n# CONFIG_KPROBES is not set\n" };
  const good = readConfig(hostFiles(host({ "proc/config.gz": packed, ...boot })), "6.1.0");
  expect([...(good?.options ?? [])]).toEqual([["CONFIG_KPROBES", "y"]]);
  const broken = readConfig(hostFiles(host({ "proc/config.gz": packed.subarray(0, 12), ...boot })), "6.1.0");
  expect([...(broken?.options ?? [])]).toEqual([["CONFIG_BPF", "y"]]);
});

test("a file is never read beyond its limit", () => {
  const file = hostFiles(host({ big: "x".repeat(5000) })).read("/big", 100);
  expect(file.state === "read" && file.bytes.length).toBe(100);
});
