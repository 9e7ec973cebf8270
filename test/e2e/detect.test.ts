import { expect, test } from "bun:test";
import { chmodSync, copyFileSync } from "node:fs";
import * as v from "valibot";
import { detectDocumentSchema } from "../../src/output/detect-schema.ts";
import { jsonOf } from "../schema.ts";
import { documentOf, executable, type Run, run, Scratch } from "./executable.ts";

const detectedBy = ({ stdout }: Run) => v.parse(detectDocumentSchema, jsonOf("detect", stdout)).detect;
const evidenceOf = (fields: Record<string, { evidence: Record<string, number[]> }>, source: string) =>
  Object.values(fields).filter(({ evidence }) => (evidence[source] ?? []).length > 0);

test("it foretells the rungs that a guess takes, and the object that it loads", () => {
  const { kernel } = detectedBy(run([executable, "detect"]));
  const done = documentOf(run([executable, "kernel"])).kernel;
  const early = Object.entries(kernel.structs).filter(([struct]) => struct !== "socket");
  const foretold = early.filter(([, { would }]) => would).map(([, { rung }]) => rung ?? "");
  expect(foretold.toSorted()).toEqual(done?.attached.toSorted() ?? []);
  expect([kernel.bytecode, kernel.strategy]).toEqual([done?.bytecode ?? "", done?.strategy ?? null]);
  expect(kernel.sources.guess.would).toBe(evidenceOf(done?.fields ?? {}, "guess").length > 0);
  expect(kernel.sources.btf.would).toBe(evidenceOf(done?.fields ?? {}, "btf").length > 0);
});

test("it foretells which sources speak of each library", () => {
  const { tls } = detectedBy(run([executable, "detect"]));
  const done = documentOf(run([executable, "tls"])).tls ?? [];
  expect(tls.length).toBeGreaterThan(0);
  let compared = 0;
  for (const { path, build_id, sources } of tls) {
    // Others' processes come and go meanwhile.
    const report = done.find((one) => one.path === path && one.build_id === build_id);
    if (report === undefined) continue;
    compared++;
    for (const source of ["probe", "code", "table"] as const)
      expect([path, source, sources[source].would]).toEqual([
        path,
        source,
        evidenceOf(report.fields, source).length > 0,
      ]);
  }
  expect(compared).toBeGreaterThan(0);
});

test("an ordinary user is told what is missing, and of each thing the one that helps", () => {
  using scratch = new Scratch();
  copyFileSync(executable, scratch.at("offsetof"));
  chmodSync(scratch.path, 0o755);
  const result = run([
    "setpriv",
    "--reuid=65534",
    "--regid=65534",
    "--clear-groups",
    scratch.at("offsetof"),
    "detect",
  ]);
  expect([result.status, result.stderr]).toEqual([0, ""]);
  const { kernel, missing } = detectedBy(result);
  expect(kernel).toMatchObject({
    sources: { guess: { would: false }, btf: { would: true } },
    strategy: null,
  });
  const rights = missing.find(({ what }) => what === "the right to load eBPF");
  expect(rights?.help).toBe("run as root, or with CAP_BPF and CAP_PERFMON");
  expect(missing.map(({ what }) => what)).not.toContain("raw tracepoints");
});

test("with what was told to help, it is missing no longer", () => {
  const lacking = run([
    "unshare",
    "--mount",
    "sh",
    "-c",
    `umount -q /sys/kernel/security; exec ${executable} detect`,
  ]);
  const row = detectedBy(lacking).missing.find(({ what }) => what === "lockdown level");
  expect(row?.help).toStartWith("mount -t securityfs ");
  const helped = run(["unshare", "--mount", "sh", "-c", `${row?.help}; exec ${executable} detect`]);
  expect(detectedBy(helped).missing.map(({ what }) => what)).not.toContain("lockdown level");
});

test.each([0, 1])("room for %p network namespaces is missing where the rights are there", (most) => {
  const full = `echo ${most} > /run/none && mount --bind /run/none /proc/sys/user/max_net_namespaces`;
  const script = `mount -t tmpfs none /run && ${full}; exec ${executable} detect`;
  const namespaces = (command: string[]) =>
    detectedBy(run(command)).missing.find(({ what }) => what === "private network namespaces");
  expect(namespaces(["unshare", "--mount", "sh", "-c", script])).toMatchObject({
    why: `/proc/sys/user/max_net_namespaces is ${most}`,
    help: "sysctl user.max_net_namespaces=1024",
  });
  expect(namespaces([executable, "detect"])).toBeUndefined();
});

test("it loads nothing into the kernel, makes no namespace, executes no library and changes nothing", () => {
  using scratch = new Scratch();
  const calls =
    "bpf,perf_event_open,unshare,setns,mount,execve,execveat,init_module,finit_module,socket,memfd_create";
  // Among its own processes alone: where another's mount has a server, a child asks it whether it answers.
  const alone = ["unshare", "--pid", "--fork", "--mount-proc"];
  const traced = ["strace", "-f", "-qq", "-e", `trace=${calls}`, "-o", scratch.at("trace")];
  run([...alone, ...traced, executable, "detect"]);
  const trace = run(["cat", scratch.at("trace")]).stdout;
  const seen = trace.split("\n").filter((line) => line !== "" && !/SIG|exited/.test(line));
  expect(seen.map((line) => line.replace(/^\d+ +/, "").replace(/\(.*/, ""))).toEqual(["execve"]);
});

test("the table for people has the same answers", () => {
  const { stdout, status } = run([executable, "detect", "--format", "table"]);
  expect(status).toBe(0);
  for (const title of ["HOST", "KERNEL", "GUESS", "TLS", "MISSING"])
    expect(stdout).toMatch(new RegExp(`^${title}`, "m"));
});
