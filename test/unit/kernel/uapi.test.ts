import { afterAll, expect, test } from "bun:test";
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { release, tmpdir } from "node:os";
import { join } from "node:path";
import { headers, uapi } from "../../../src/kernel/synthetic/uapi.ts";
import { uapiDiffers } from "../../lab/layouts.ts";

const folder = mkdtempSync(join(tmpdir(), "offsetof-uapi-"));
afterAll(() => rmSync(folder, { recursive: true }));
const scratch = join(folder, "uapi.btf");

test("every struct and enum is as the running kernel's BTF has it", () => {
  const version = release().split(".").map(Number.parseFloat);
  const { wrong, compared } = uapiDiffers(
    { machine: "x64", version, file: "/sys/kernel/btf/vmlinux" },
    scratch,
  );
  expect(wrong).toEqual([]);
  expect(compared).toBeGreaterThan(500);
});

test("every struct and enum is as a compiler lays out what Linux's headers declare", () => {
  const [source, object, file] = ["uapi.c", "uapi.o", "headers.btf"].map((name) => join(folder, name)) as [
    string,
    string,
    string,
  ];
  const code = Number(
    /LINUX_VERSION_CODE (\d+)/.exec(readFileSync("/usr/include/linux/version.h", "utf8"))?.[1],
  );
  const version = [code >> 16, (code >> 8) & 255, code & 255];
  const kernels = ["bpf_ringbuf", "pt_regs"];
  const declared = uapi("x64", version).filter(({ name }) => !kernels.includes(name));
  const includes = [...new Set(headers.values())].map((header) => `#include <${header}>`);
  const variables = declared.map(({ kind, name }) => `${kind} ${name} a_${name};`);
  writeFileSync(source, [...includes, ...variables].join("\n"));
  const built = Bun.spawnSync([
    "sh",
    "-c",
    `gcc -g -c ${source} -o ${object} && pahole --btf_encode_detached ${file} ${object}`,
  ]);
  expect(built.stderr.toString()).toBe("");
  const isMeant = (name: string) => declared.some((each) => each.name === name);
  const { wrong, compared } = uapiDiffers({ machine: "x64", version, file }, scratch, isMeant);
  // To programs of user space x86's struct pt_regs has registers of other names.
  expect(wrong.filter((line) => !line.startsWith("bpf_perf_event_data.regs."))).toEqual([]);
  expect(compared).toBeGreaterThan(500);
});

test("an older kernel is told only what it has", () => {
  const told = (version: readonly number[]) => new Map(uapi("x64", version).map((type) => [type.name, type]));
  const [old, young] = [told([4, 17, 0]), told([7, 0, 0])];
  for (const name of ["bpf_ringbuf", "open_how", "bpf_pidns_info", "bpf_sk_lookup"])
    expect([name, old.has(name), young.has(name)]).toEqual([name, false, true]);
  expect(old.get("__sk_buff")).toMatchObject({ size: 144 });
  expect(young.get("__sk_buff")).toMatchObject({ size: 192 });
  expect(old.get("bpf_func_id")).toHaveProperty("enumerators.length", 65);
  expect(young.get("bpf_func_id")).toHaveProperty("enumerators.length", 212);
});
