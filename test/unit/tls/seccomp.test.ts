import { afterAll, expect, test } from "bun:test";
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { zig } from "../../../assets/build/zig.ts";
import { unconfined } from "../../../src/tls/child/confine.ts";
import { callNumbers, systemCallFilter } from "../../../src/tls/child/seccomp.ts";

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

const status = (changes: Readonly<Record<string, string>> = {}): string =>
  Object.entries({
    Uid: "65534\t65534\t65534\t65534",
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
  expect(unconfined(status())).toBeUndefined();
  expect(unconfined(readFileSync("/proc/self/status", "latin1"))).toStartWith("Uid:\t0");
  for (const [key, value] of [
    ["Uid", "65534\t65534\t0\t65534"],
    ["CapEff", "0000000000200000"],
    ["CapPrm", "0000000000200000"],
    ["NoNewPrivs", "0"],
    ["Seccomp", "0"],
  ] as const) {
    expect(unconfined(status({ [key]: value }))).toBe(`${key}:\t${value}`);
  }
  expect(unconfined(status().replace(/^Seccomp.*\n/m, ""))).toBe("no Seccomp");
});
