/**
 * Old kernels, as far as they go. None older than 5.10 is at hand, so this one answers as they do: by a filter that knows no
 * later system call (test/confine.c), and by what lies over /proc and /sys.
 */
import { beforeAll, describe, expect, test } from "bun:test";
import { join } from "node:path";
import * as v from "valibot";
import { kernelFields } from "../../src/kernel/fields/fields.ts";
import { detectDocumentSchema } from "../../src/output/detect-schema.ts";
import { buildConfine } from "../confine.ts";
import { truthOf } from "../lab/truth.ts";
import { jsonOf } from "../schema.ts";
import { documentOf, errorOf, executable, type Run, repository, run, Scratch } from "./executable.ts";

const LIBRARY = "/usr/lib/x86_64-linux-gnu/libssl.so.3";

/** What needs no kernel of a certain age. */
const plain = [
  ["--version"],
  ["--help"],
  ["bytecode", "list"],
  ["config"],
  ["gateway", "127.0.0.2", "127.0.0.1"],
];

let confine: string;
let truth: ReadonlyMap<string, number | null>;
beforeAll(async () => {
  confine = await buildConfine();
  const members = kernelFields.map(({ member }) => member);
  truth = await truthOf("/sys/kernel/btf/vmlinux", members);
});

/** What stands for the constants of a kernel or a library that are known. */
const known = (constants: Readonly<Record<string, number | null>> = {}) =>
  Object.fromEntries(Object.entries(constants).filter(([, value]) => value !== null));

const usual = plain.map((args) => [args, run([executable, ...args])] as const);
const whole = documentOf(run([executable, "tls", LIBRARY, "--format", "json"])).tls?.[0];

/** Which of them have so much, and what the lack of it is told by. */
const ages = [
  {
    version: "3.10",
    guess: false,
    probe: false,
    why: "ENOSYS; libbpf needs memfd_create(2): Linux 3.17",
  },
  {
    version: "3.16",
    guess: false,
    probe: false,
    why: "ENOSYS; libbpf needs memfd_create(2): Linux 3.17",
  },
  { version: "4.4", guess: false, probe: true, why: "EINVAL" },
  { version: "4.14", guess: false, probe: true, why: "EINVAL" },
  { version: "4.18", guess: true, probe: true, why: "" },
] as const;

describe.each(ages)("with the system calls of Linux $version", ({ version, guess, probe, why }) => {
  const ask = (...args: string[]): Run => run([confine, "-k", version, executable, ...args]);

  test("what needs none of the later ones says what it always says", () => {
    for (const [args, result] of usual) expect([args, ask(...args)]).toEqual([args, result]);
  });

  test("the kernel is measured, or BTF answers and why is told", () => {
    const result = ask("kernel", "--format", "json");
    const { kernel, diagnostics } = documentOf(result);
    expect([result.status, result.stderr]).toEqual([guess ? 0 : 3, ""]);
    for (const { member, value } of Object.values(kernel?.fields ?? {}))
      if (value !== null && truth.has(member))
        expect([member, value]).toEqual([member, truth.get(member) ?? -1]);
    expect(Object.keys(known(kernel?.constants)).length).toBeGreaterThan(30);
    expect((kernel?.attached ?? []).length > 0).toBe(guess);
    const refusals = diagnostics.filter(({ code }) => code === "E_NO_GUESS");
    expect(refusals.map(({ message }) => message)).toEqual(guess ? [] : [expect.stringContaining(why)]);
  });

  test("a library is probed where the child can be confined, else its code and the tables answer, as was foreseen", () => {
    const { tls, diagnostics } = documentOf(ask("tls", LIBRARY, "--format", "json"));
    expect(whole?.constants).toMatchObject(known(tls?.[0]?.constants));
    expect(Object.keys(known(tls?.[0]?.constants)).length).toBeGreaterThan(15);
    const reasons = diagnostics.filter(({ code }) => code === "W_TLS_PROBE").map(({ message }) => message);
    const told = expect.stringContaining("seccomp(SECCOMP_SET_MODE_FILTER): ENOSYS; needs Linux 3.17");
    expect(reasons).toEqual(probe ? [] : [told]);
    if (probe) expect(tls?.[0]?.constants).toEqual(whole?.constants ?? {});
    const { detect } = v.parse(
      detectDocumentSchema,
      jsonOf("detect", ask("detect", "--format", "json").stdout),
    );
    expect(detect.tls?.find(({ path }) => path === LIBRARY)?.sources.probe).toEqual({
      would: probe,
      reason: probe ? expect.stringContaining("it can be loaded here") : told,
    });
  });
});

test("where neither memfd_create nor /proc leads to a file in memory, the guess alone is lost", () => {
  const rights = ["-c", "39,38,12", "-k", "3.16"]; // CAP_BPF, CAP_PERFMON, CAP_NET_ADMIN: to map_files leads CAP_SYS_ADMIN
  const { kernel, diagnostics } = documentOf(
    run([confine, ...rights, executable, "kernel", "--format", "json"]),
  );
  const refusal = diagnostics.find(({ code }) => code === "E_NO_GUESS");
  expect(refusal?.message).toContain("memfd_create: ENOSYS; needs Linux 3.17");
  expect(kernel?.fields.offset_daddr).toMatchObject({ value: 0, status: "single" });
});

describe("a host like CentOS 7: Linux 3.10 without eBPF and BTF", () => {
  /** In namespaces of its own, in which nothing else runs. */
  function onOldHost(...args: string[]): Run {
    using scratch = new Scratch();
    const inside = `mount -t proc proc /proc && mount -t tmpfs none "$0" && mkdir "$0/sysctl" "$0/none" &&
      echo 3.10.0-1160.el7.x86_64 >"$0/sysctl/osrelease" &&
      echo "Linux version 3.10.0-1160.el7.x86_64 (mockbuild@kbuilder) (gcc version 4.8.5) #1 SMP" >"$0/version" &&
      mount --bind "$0/sysctl" /proc/sys/kernel && mount --bind "$0/version" /proc/version &&
      mount --bind "$0/none" /sys/kernel/btf && mount --bind /dev/null /proc/config.gz && exec "$@"`;
    const command = [confine, "-k", "3.10", executable, ...args];
    return run(["unshare", "--mount", "--pid", "--fork", "sh", "-c", inside, scratch.path, ...command]);
  }
  const TOO_OLD = "eBPF is too old on this kernel, or not built in";

  test("detect foresees it", () => {
    const result = onOldHost("detect", "--format", "json");
    const { detect, host } = v.parse(detectDocumentSchema, jsonOf("detect", result.stdout));
    expect([result.status, result.stderr]).toEqual([0, ""]);
    expect(host.kernel.version).toEqual([3, 10, 0]);
    expect(detect.kernel.sources.guess).toEqual({ would: false, reason: expect.stringContaining(TOO_OLD) });
    expect(detect.missing).toContainEqual(
      expect.objectContaining({
        why: expect.stringContaining(TOO_OLD),
        help: expect.stringContaining("4.17"),
      }),
    );
  });

  test("what needs the kernel ends with 4 and that word", () => {
    const asked = [
      ["kernel"],
      ["btf", "-o", "/dev/null"],
      ["bytecode", "edit", join(repository, "assets/bpf/x64/socket_reader.o"), "-o", "/dev/null"],
    ];
    for (const args of [...asked, ["verify", "kernel"]]) {
      const result = onOldHost(...args);
      expect([args, result.status, result.stdout]).toEqual([args, 4, ""]);
      expect(errorOf(result)).toEqual({ code: "E_NO_EBPF", message: expect.stringContaining(TOO_OLD) });
    }
    const tls = onOldHost("verify", "tls", LIBRARY);
    expect([tls.status, errorOf(tls)]).toEqual([
      4,
      { code: "E_VERIFY", message: expect.stringContaining(TOO_OLD) },
    ]);
    const text = onOldHost("kernel", "--get", "offset_daddr");
    expect(text).toMatchObject({
      status: 4,
      stdout: "",
      stderr: expect.stringContaining(`offsetof: ${TOO_OLD}`),
    });
  });

  test("a whole run has the libraries, and says why there is no more", () => {
    const result = onOldHost("--format", "json");
    const { kernel, tls, diagnostics } = documentOf(result);
    expect(result.status).toBe(3);
    expect(known(kernel?.constants)).toEqual({ tcpv6_enabled: 1, udpv6_enabled: 1 });
    expect(tls?.find(({ path }) => path === LIBRARY)?.fields).toBeDefined();
    expect(diagnostics).toContainEqual({ code: "E_NO_GUESS", message: expect.stringContaining(TOO_OLD) });
  });
});
