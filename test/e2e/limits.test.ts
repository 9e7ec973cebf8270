import { expect, test } from "bun:test";
import { documentOf, errorOf, executable, run } from "./executable.ts";

/** With so many KiB of address space, as `ulimit -v` or systemd's LimitAS gives. The runtime alone sets aside a gigabyte. */
const limited = (kibibytes: number, env: Record<string, string>, ...args: string[]) =>
  run(["sh", "-c", `ulimit -v ${kibibytes} && exec "$@"`, "sh", executable, ...args], { env });
/** What the runtime does by itself, and what a person may ask for. */
const GIGABYTE = { BUN_JSC_jitMemoryReservationSize: `${1 << 30}` };

test("where address space is short the program starts again with less of it, and answers as always", () => {
  const plain = documentOf(run([executable, "kernel", "--format", "json"]));
  for (const kibibytes of [1_500_000, 1_000_000, 600_000]) {
    const { host, kernel } = documentOf(limited(kibibytes, {}, "kernel", "--format", "json"));
    expect([kibibytes, host, kernel?.constants]).toEqual([kibibytes, plain.host, plain.kernel?.constants]);
  }
  // Its exit code and its errors are its own.
  expect(limited(1_000_000, {}, "kernel", "--get", "offset_rtt").stdout).toBe(
    `${plain.kernel?.constants.offset_rtt}\n`,
  );
  const refused = limited(1_000_000, {}, "tls", "/bin/true", "--format", "json");
  expect(refused.status).toBe(3);
});

test("without executable memory a command ends with 4 and says what to do; what needs none works", () => {
  for (const args of [["kernel"], ["tls"], ["detect"], ["gateway", "0.0.0.0", "127.0.0.1"]]) {
    const result = limited(1_000_000, GIGABYTE, ...args, "--format", "json");
    expect({ status: result.status, stdout: result.stdout }).toEqual({ status: 4, stdout: "" });
    const { code, message } = errorOf(result);
    expect([args, code]).toEqual([args, "E_NO_JIT"]);
    expect(message).toContain("MemoryDenyWriteExecute");
  }
  expect(limited(1_000_000, GIGABYTE, "--version").stdout).toMatch(/^\d+\.\d+\.\d+\n$/);
  expect(limited(1_000_000, GIGABYTE, "tls", "--help").status).toBe(0);
});
