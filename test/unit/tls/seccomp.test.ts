import { afterAll, beforeAll, describe, expect, test } from "bun:test";
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { zig } from "../../../assets/build/zig.ts";
import { unconfined } from "../../../src/tls/child/confine.ts";
import { callNumbers, systemCallFilter } from "../../../src/tls/child/seccomp.ts";
import { childUser } from "../../../src/tls/child/user.ts";

const folder = mkdtempSync(join(tmpdir(), "offsetof-seccomp-"));
afterAll(() => rmSync(folder, { recursive: true }));

test.each([
  ["x64", "x86_64"],
  ["arm64", "aarch64"],
] as const)("%s: the numbers are those of the C library's headers", async (arch, machine) => {
  const source = join(folder, `${arch}.c`);
  const defined = join(folder, `${arch}.h`);
  writeFileSync(source, "#include <sys/syscall.h>\n");
  await zig(["cc", "-target", `${machine}-linux-musl`, "-E", "-dM", "-o", defined, source], {
    cwd: folder,
    cache: join(folder, "zig"),
  });
  const numbers = new Map(
    [...readFileSync(defined, "utf8").matchAll(/^#define __NR_(\w+) (\d+)$/gm)].map(
      ([, name = "", number]) => [name, Number(number)],
    ),
  );
  expect(numbers.size).toBeGreaterThan(250);
  const listed = callNumbers(arch);
  expect(listed.size).toBeGreaterThan(60);
  for (const [name, number] of listed) expect([name, number]).toEqual([name, numbers.get(name) ?? -1]);
  // Each once, so that no row hides another; and a filter is at most BPF_MAXINSNS long.
  expect(new Set(listed.values()).size).toBe(listed.size);
  expect(systemCallFilter(arch, 1).byteLength / 8).toBeLessThan(4096);
});

/** Puts the filter of a file on itself, and tells the errno of each call: "number,argument,argument". */
const FILTERED = `
#include <errno.h>
#include <linux/filter.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <unistd.h>
int main(int argc, char **argv)
{
	static struct sock_filter rules[4096];
	FILE *file = fopen(argv[1], "r");
	struct sock_fprog program = { fread(rules, sizeof rules[0], 4096, file), rules };
	if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) || prctl(PR_SET_SECCOMP, 2 /* SECCOMP_MODE_FILTER */, &program))
		return 125;
	for (int at = 2; at < argc; at++) {
		long call = 0, first = 0, second = 0;
		sscanf(argv[at], "%ld,%ld,%ld", &call, &first, &second);
		printf("%d\\n", syscall(call, first, second, 0L, 0L, 0L) < 0 ? errno : 0);
	}
	return fflush(stdout);
}
`;

describe("the kernel, under the filter", () => {
  const EPERM = 1;
  const EINVAL = 22;
  const arch = process.arch === "arm64" ? "arm64" : "x64";
  const numberOf = (call: string): number => callNumbers(arch).get(call) ?? -1;
  const program = join(folder, "filtered");
  const filter = join(folder, "filter");
  beforeAll(() => {
    writeFileSync(`${program}.c`, FILTERED);
    writeFileSync(filter, systemCallFilter(arch, 1));
    const { stderr, success } = Bun.spawnSync(["cc", "-w", "-o", program, `${program}.c`]);
    if (!success) throw new Error(stderr.toString());
  });
  const errnos = (call: string, calls: readonly (readonly [first: number, second: number])[]): number[] => {
    const asked = calls.map((pair) => [numberOf(call), ...pair].join());
    const { stdout, exitCode } = Bun.spawnSync([program, filter, ...asked]);
    expect(exitCode).toBe(0);
    return stdout.toString().trim().split("\n").map(Number);
  };

  test("makes threads, and no namespace with them", () => {
    const CLONE_THREAD = 0x10000;
    // NEWNS, NEWCGROUP, NEWUTS, NEWIPC, NEWUSER, NEWPID, NEWNET of linux/sched.h, and NEWTIME, which is CSIGNAL's here.
    const news = [0x20000, 0x2000000, 0x4000000, 0x8000000, 0x10000000, 0x20000000, 0x40000000, 0x80];
    // A thread without CLONE_SIGHAND is none: the kernel refuses what the filter lets through, and nothing is made.
    expect(errnos("clone", [[CLONE_THREAD, 0]])).toEqual([EINVAL]);
    const asked = news.map((flag) => [CLONE_THREAD | flag, 0] as const);
    expect(errnos("clone", asked)).toEqual(news.map(() => EPERM));
  });

  test("asks descriptors, and changes nothing of what they share with the parent", () => {
    // F_DUPFD, F_GETFD, F_SETFD, F_GETFL, F_DUPFD_CLOEXEC of linux/fcntl.h.
    expect(
      errnos(
        "fcntl",
        [0, 1, 2, 3, 1030].map((command) => [2, command]),
      ),
    ).toEqual([0, 0, 0, 0, 0]);
    // F_SETFL, F_SETLK, F_SETOWN, F_SETSIG, F_SETOWN_EX, F_OFD_SETLK, F_SETLEASE, F_NOTIFY, F_SETPIPE_SZ, F_ADD_SEALS.
    const changing = [4, 6, 8, 10, 15, 37, 1024, 1026, 1031, 1033];
    expect(
      errnos(
        "fcntl",
        changing.map((command) => [2, command]),
      ),
    ).toEqual(changing.map(() => EPERM));
  });
});

const status = (changes: Readonly<Record<string, string>> = {}): string =>
  Object.entries({
    Uid: "65534\t65534\t65534\t65534",
    Gid: "65533\t65533\t65533\t65533",
    Groups: "4 27 ",
    CapInh: "0000000000000000",
    CapPrm: "0000000000000000",
    CapEff: "0000000000000000",
    NoNewPrivs: "1",
    Seccomp: "2",
    ...changes,
  })
    .map(([key, value]) => `${key}:\t${value}\n`)
    .join("");

test("a thread that is not confined is told by the kernel's own line", () => {
  const ids = { uid: 65534, gid: 65533, groups: "4 27" };
  expect(unconfined(status(), ids)).toBeUndefined();
  expect(unconfined(readFileSync("/proc/self/status", "latin1"), ids)).toStartWith("Uid:\t0");
  for (const [key, value] of [
    ["Uid", "65534\t65534\t0\t65534"],
    ["Uid", "65535\t65535\t65535\t65535"],
    ["Gid", "65533\t65533\t0\t65533"],
    ["Groups", "0 4 27 "],
    ["Groups", ""],
    ["CapEff", "0000000000200000"],
    ["CapPrm", "0000000000200000"],
    ["NoNewPrivs", "0"],
    ["Seccomp", "0"],
  ] as const) {
    expect(unconfined(status({ [key]: value }), ids)).toBe(`${key}:\t${value}`);
  }
  expect(unconfined(status().replace(/^Seccomp.*\n/m, ""), ids)).toBe("no Seccomp");
});

test("root's child becomes a user that is no other's, or nobody, or stays where there is no other", () => {
  const whole = "         0          0 4294967295\n";
  const inside = { uid: 0, pid: 812, uid_map: whole, gid_map: whole, setgroups: "allow\n" };
  expect(childUser(inside)).toBe(0x7000_0000 + 812);
  expect(childUser({ ...inside, uid: 1000 })).toBeNull();
  const container = "         0     100000      65536\n";
  expect(childUser({ ...inside, uid_map: container, gid_map: container })).toBe(65534);
  expect(childUser({ ...inside, gid_map: container })).toBe(65534);
  const alone = "         0       1000          1\n";
  expect(childUser({ ...inside, uid_map: alone, gid_map: alone, setgroups: "deny\n" })).toBeNull();
  // What cannot be is tried, so that the kernel's own words are the reason.
  expect(childUser({ ...inside, uid_map: alone, gid_map: alone })).toBe(65534);
});
