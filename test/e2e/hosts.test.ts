import { beforeAll, expect, test } from "bun:test";
import { chmodSync, copyFileSync, mkdirSync } from "node:fs";
import { join } from "node:path";
import { loadPackage } from "../../assets/build/debian.ts";
import { kernelFields } from "../../src/kernel/fields/fields.ts";
import { buildConfine, CAP } from "../confine.ts";
import { truthOf } from "../lab/truth.ts";
import { documentOf, executable, repository, run, Scratch } from "./executable.ts";

let glibc: string;
let confine: string;
let truth: ReadonlyMap<string, number>;
const ask = [executable, "kernel", "--format", "json"];

beforeAll(async () => {
  confine = await buildConfine();
  const members = await truthOf(
    "/sys/kernel/btf/vmlinux",
    kernelFields.map(({ member }) => member),
  );
  truth = new Map(kernelFields.map(({ constant, member }) => [constant, members.get(member) ?? -1]));
  glibc = (await loadPackage("bullseye", "libc6")).root;
});

test("runs where there is nothing but glibc 2.31 and /proc", () => {
  using root = new Scratch();
  run(["cp", "-a", `${glibc}/.`, root.path]);
  copyFileSync(executable, root.at("offsetof"));
  mkdirSync(root.at("proc"));
  expect(run(["chroot", root.path, "/lib/x86_64-linux-gnu/libc.so.6"]).stdout).toContain("version 2.31");
  const inside = `mount -t proc proc ${root.at("proc")} && exec chroot ${root.path} /offsetof`;
  const document = documentOf(run(["unshare", "--mount", "sh", "-c", inside]));
  expect(document.host.kernel.release).toBe(run(["uname", "-r"]).stdout.trim());
  expect(document.host.btf).toBeNull();
});

/** `command` by a launcher that takes rights away: see test/confine.c. */
const confined = (confine: string, options: readonly string[], ...command: string[]) =>
  run([confine, ...options, ...command]);

/** Every constant's value is what the kernel's own BTF tells another reader, or null with a reason. */
function expectTrue(document: ReturnType<typeof documentOf>): void {
  for (const { constant } of kernelFields) {
    const field = document.kernel?.fields[constant];
    if (field?.value === null) expect(field.reason).toBeString();
    else expect({ constant, value: field?.value }).toEqual({ constant, value: truth.get(constant) ?? -1 });
  }
}

test("an ordinary user gets the document without what needs privilege, and no stack trace", () => {
  using scratch = new Scratch();
  copyFileSync(executable, scratch.at("offsetof"));
  chmodSync(scratch.path, 0o755);
  const nobody = ["setpriv", "--reuid=65534", "--regid=65534", "--clear-groups"];
  const result = run([...nobody, scratch.at("offsetof"), "run", "--format", "json"]);
  const document = documentOf(result);
  expect(document.host).toMatchObject({ privileges: [], raw_tracepoints: false });
  expectTrue(document);
  for (const { constant } of kernelFields) {
    // What the kernel's own BTF tells needs no privilege.
    const field = document.kernel?.fields[constant];
    expect(field).toMatchObject({ status: "single", evidence: { btf: [field?.value] } });
  }
  expect(document.kernel?.constants).toMatchObject({ fl4_offsets: 1, fl6_offsets: 1 });
  expect(result.status).toBe(3);
  const refusal = document.diagnostics.find(({ code }) => code === "E_NO_GUESS");
  expect(refusal?.message).toBe("needs CAP_BPF and CAP_PERFMON, or CAP_SYS_ADMIN");
  expect(result.stderr).toBe("");
});

test("a seccomp filter that refuses bpf(2) is named, and BTF answers", () => {
  const result = confined(confine, ["-d"], ...ask);
  const document = documentOf(result);
  expectTrue(document);
  expect(document.host.raw_tracepoints).toBeNull();
  expect(document.kernel?.attached).toEqual([]);
  expect(document.kernel?.fields.offset_daddr?.evidence).toEqual({ btf: [truth.get("offset_daddr") ?? -1] });
  const refusal = document.diagnostics.find(({ code }) => code === "E_NO_GUESS");
  expect(refusal?.message).toContain("seccomp");
  expect([result.status, result.stderr]).toEqual([3, ""]);
});

test("without CAP_SYS_ADMIN the stimulus runs where it is, says so, and leaves no socket", () => {
  const rights = `-c ${CAP.netAdmin},${CAP.perfmon},${CAP.bpf}`;
  const inside = `ip link set lo up && mount -t tmpfs none /sys/kernel/btf && ${confine} ${rights} ${ask.join(" ")}`;
  const script = `${inside}; status=$?; tail -qn +2 /proc/net/tcp /proc/net/nf_conntrack >&2; exit $status`;
  const result = run(["unshare", "--net", "--mount", "sh", "-c", script]);
  const document = documentOf(result);
  expectTrue(document);
  const { fields = {}, constants } = document.kernel ?? {};
  expect(constants).toMatchObject({ fl4_offsets: 1 });
  for (const constant of ["offset_saddr", "offset_rtt", "offset_sk_socket", "offset_socket_file"])
    expect(fields[constant]).toMatchObject({ value: truth.get(constant) ?? -1, status: "single" });
  for (const constant of ["offset_netns", "offset_ino", "offset_family", "offset_saddr_fl6"])
    expect(fields[constant]?.reason).toContain("unshare(CLONE_NEWNET): EPERM; needs CAP_SYS_ADMIN");
  const limit = document.diagnostics.find(({ code }) => code === "W_GUESS_LIMITED");
  expect(limit?.message).toContain("current network namespace");
  expect(result.status).toBe(3);
  expect(result.stderr.replace(/^tail: .*nf_conntrack.*\n/m, "")).toBe("");
});

test("a seccomp filter in the way of memfd_create is named, not the kernel's age, and BTF answers", () => {
  const filter = [process.execPath, join(repository, "test/unit/ffi/refused.program.ts"), "319", "1"];
  const root = documentOf(run([...filter, executable, "kernel", "--format", "json"]));
  expect(root.diagnostics.find(({ code }) => code === "E_NO_GUESS")?.message).toContain(
    "open eBPF object socket_guess: EPERM; libbpf's memfd_create(2) is refused",
  );
  const rights = ["-c", `${CAP.netAdmin},${CAP.perfmon},${CAP.bpf}`]; // to map_files CAP_SYS_ADMIN leads
  const result = confined(confine, rights, ...filter, executable, "kernel", "--format", "json");
  const refusal = documentOf(result).diagnostics.find(({ code }) => code === "E_NO_GUESS");
  expect(refusal?.message).toContain("memfd_create: EPERM; a seccomp filter refuses it");
  expect(documentOf(result).kernel?.fields.offset_daddr).toMatchObject({ value: 0, status: "single" });
});

test("no room for another network namespace is told by the sysctl that makes some", () => {
  const filter = [process.execPath, join(repository, "test/unit/ffi/refused.program.ts"), "272", "28"];
  const { diagnostics } = documentOf(run([...filter, executable, "kernel", "--format", "json"]));
  const limited = diagnostics.find(({ code }) => code === "W_GUESS_LIMITED");
  expect(limited?.message).toContain("unshare(CLONE_NEWNET): ENOSPC; user.max_net_namespaces is reached");
});
