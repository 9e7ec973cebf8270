import { afterAll, beforeAll, describe, expect, test } from "bun:test";
import { existsSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import * as v from "valibot";
import { zig, zigInclude } from "../../assets/build/zig.ts";
import { bakedSchema } from "../../src/output/bytecode-schema.ts";
import { jsonOf } from "../schema.ts";
import { errorOf, executable, repository, run, Scratch } from "./executable.ts";

/** An object as other projects have them: constants of ours, symbols and variables of their own, and what libbpf resolves. */
const SOURCE = `
#include <linux/bpf.h>
#include <bpf/bpf_helpers.h>
#define LOAD(symbol) ({ __u64 v; asm("%0 = " #symbol " ll" : "=r"(v)); v; })
extern int LINUX_KERNEL_VERSION __kconfig;
extern const void tcp_getsockopt __ksym;
const volatile __u8 small = 1;
const volatile __u64 wide = 2;
SEC("socket")
int program(void *context)
{
	return LOAD(offset_dport) + LOAD(protocol_index) + LOAD(table_size) + small + wide + LINUX_KERNEL_VERSION + (__u64)&tcp_getsockopt;
}
char LICENSE[] SEC("license") = "GPL";
`;

let scratch: Scratch;
const input = () => scratch.at("third.o");
beforeAll(async () => {
  scratch = new Scratch();
  writeFileSync(scratch.at("third.bpf.c"), SOURCE);
  const folders = [join(repository, "bpf/include"), zigInclude("any-linux-any"), zigInclude("x86-linux-any")];
  const flags = ["-target", "bpf", "-O2", "-g", ...folders.flatMap((each) => ["-isystem", each])];
  await zig(["clang", ...flags, "-c", scratch.at("third.bpf.c"), "-o", input()], {
    cwd: scratch.path,
    cache: scratch.at("cache"),
  });
});
afterAll(() => scratch[Symbol.dispose]());

const edit = (...args: string[]) =>
  run([executable, "bytecode", "edit", input(), "-o", scratch.at("out.o"), "--format", "json", ...args]);

/** Loads the object as bpftool does and returns its instructions as the kernel has them. */
function loaded(path: string): string {
  const script = `mount -t bpf bpf /sys/fs/bpf && bpftool prog loadall ${path} /sys/fs/bpf/p && bpftool prog dump xlated pinned /sys/fs/bpf/p/program`;
  const { status, stdout, stderr } = run(["unshare", "--mount", "sh", "-ec", script]);
  if (status !== 0) throw new Error(stderr);
  return stdout;
}

describe("bytecode edit", () => {
  test("symbols that would stay undefined are named, and nothing is written", () => {
    const result = edit();
    expect([result.status, result.stdout]).toEqual([1, ""]);
    // Not the two that libbpf resolves.
    expect(errorOf(result).message).toBe(
      `${input()} needs values that are no constants of kernel: protocol_index, table_size; --set NAME=VALUE gives one, --allow-missing leaves them to another edit`,
    );
    expect(errorOf(edit("--set", "table_size=1")).message).toContain("of kernel: protocol_index;");
    expect(existsSync(scratch.at("out.o"))).toBe(false);
  });

  test("--set gives them their values, decimal or hexadecimal, and the object loads with them", () => {
    const result = edit(
      "--set",
      "protocol_index=4242",
      "--set=table_size=0x1122334455667788",
      "--set",
      "wide=18446744073709551615",
    );
    expect(result.status).toBe(0);
    const baked = v.parse(bakedSchema, jsonOf("baked", result.stdout));
    expect(Object.keys(baked.constants)).toEqual(["offset_dport"]);
    expect(baked.set).toEqual({
      protocol_index: "4242",
      table_size: "1234605616436508552",
      wide: "18446744073709551615",
    });
    const code = loaded(scratch.at("out.o"));
    expect(code).toContain("= 0x1122334455667788");
    expect(code).toContain("= 0x1092"); // 4242
    const { stdout } = run(["readelf", "--hex-dump=.rodata", scratch.at("out.o")]);
    expect(stdout).toMatch(/ffffffff ?ffffffff/);
  });

  test("--allow-missing leaves them to another edit, and says so", () => {
    const result = edit("--allow-missing");
    expect(result.status).toBe(3);
    expect(result.stderr).toContain("left undefined: protocol_index, table_size");
    expect(() => loaded(scratch.at("out.o"))).toThrow("protocol_index");
    const again = ["bytecode", "edit", scratch.at("out.o"), "-o", scratch.at("out.o")];
    const set = ["--set", "protocol_index=1", "--set", "table_size=2"];
    expect(run([executable, ...again, ...set]).status).toBe(0);
    loaded(scratch.at("out.o"));
  });

  test("what is set stands before what is known", () => {
    const all = ["--set", "protocol_index=1", "--set", "table_size=2", "--set", "offset_dport=99"];
    const result = edit(...all, "--set", "small=0xff");
    const baked = v.parse(bakedSchema, jsonOf("baked", result.stdout));
    expect(baked).toMatchObject({ constants: {}, set: { offset_dport: "99", small: "255" } });
    expect(loaded(scratch.at("out.o"))).toContain("= 0x63");
  });

  test.each<[setting: string, status: number, message: string]>([
    ["small=256", 1, "third.o: small is 256, which does not fit into its 1 byte"],
    ["table_size=0x10000000000000000", 1, "third.o: table_size is 18446744073709551616, which does not fit"],
    ["tabel_size=1", 1, 'third.o has no constant tabel_size that could be set, did you mean "table_size"?'],
    ["small", 2, "--set small: expected NAME=VALUE"],
    ["=1", 2, "--set =1: expected NAME=VALUE"],
    ["small=", 2, "--set small=: expected NAME=VALUE"],
    ["small=-1", 2, "--set small=-1: expected NAME=VALUE"],
    ["small=1e3", 2, "--set small=1e3: expected NAME=VALUE"],
    ["small=010x", 2, "--set small=010x: expected NAME=VALUE"],
    ["protocol_index=7", 2, "--set protocol_index is given twice"],
  ])("--set %s: exit %d", (setting, status, message) => {
    const others = ["protocol_index=1", "table_size=2"].filter(
      (each) => !setting.startsWith(each.slice(0, 10)),
    );
    const twice = setting.startsWith("protocol_index") ? ["protocol_index=1"] : [];
    const result = edit(...[...others, ...twice, setting].map((each) => `--set=${each}`));
    expect([result.status, result.stdout]).toEqual([status, ""]);
    expect(errorOf(result).message).toContain(message);
  });
});

test("bytecode extract takes --set too, for what no document has", () => {
  const path = scratch.at("sock.o");
  const extract = (...args: string[]) =>
    run([executable, "bytecode", "extract", "--for", "kernel", "-o", path, "--format", "json", ...args]);
  const { stdout, status } = extract("--set", "filter_comm_0=0xdeadbee0");
  expect(status).toBe(0);
  expect(v.parse(bakedSchema, jsonOf("baked", stdout)).set).toEqual({ filter_comm_0: "3735928544" });
  expect(run(["readelf", "--hex-dump=.rodata", path]).stdout).toContain("e0beadde");
  expect(errorOf(extract("--set", "filter_comm_0=0x100000000")).message).toContain(
    "filter_comm_0 is 4294967296, which does not fit into its 4 bytes",
  );
});
