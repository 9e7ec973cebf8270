import { afterAll, beforeAll, describe, expect, test } from "bun:test";
import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { repository } from "../../../assets/build/paths.ts";
import { run } from "../../../assets/build/run.ts";
import { zig, zigInclude } from "../../../assets/build/zig.ts";
import { Libbpf } from "../../../ffi/libbpf.ts";
import { socketEvent, tlsEvent } from "../../../src/bytecode/events.ts";
import { BakeError, EbpfObject } from "../../../src/bytecode/object.ts";
import { bakeEmbedded, embeddedObject } from "../../../src/bytecode/objects.ts";
import { bakedObjects } from "../../../src/bytecode/pick.ts";
import { InputError } from "../../../src/input/input.ts";
import { assetBytes } from "../../../src/self/assets.ts";

/** Somebody else's object: variables of every width, and as in Datadog's, loads of symbols that are not there. */
const SOURCE = `
#include <linux/bpf.h>
#include <bpf/bpf_helpers.h>
const volatile __u8 one = 1;
const volatile __u16 two = 2;
static const volatile __u32 four = 4;
const volatile __u64 eight = 8;
const volatile __u32 many[3] = {1, 2, 3};
const volatile __u32 other = 5;
__u32 written;
SEC("socket")
int program(void *context)
{
	written += one + two + four + eight + many[1] + other;
	return 0;
}
#ifdef SYMBOLS
SEC("xdp") /* a section of its own, which keeps no relocation */
int loads(void *context)
{
	__u64 first, second;
	asm("%0 = first_symbol ll" : "=r"(first));
	asm("%0 = second_symbol ll" : "=r"(second));
	return first + second + first;
}
#endif
char LICENSE[] SEC("license") = "GPL";
`;

let folder: string;
const at = (name: string): string => join(folder, name);
const bytesOf = (name: string): Promise<Uint8Array> => Bun.file(at(name)).bytes();

beforeAll(async () => {
  folder = await mkdtemp(join(tmpdir(), "offsetof-object-"));
  await Bun.write(at("third.bpf.c"), SOURCE);
  const includes = [
    join(repository, "bpf/include"),
    zigInclude("any-linux-any"),
    zigInclude("x86-linux-any"),
  ];
  const flags = ["-O2", "-g", "-mcpu=v1", ...includes.flatMap((each) => ["-isystem", each])];
  const build = (target: string, output: string, ...defines: string[]) =>
    zig(["clang", "-target", target, ...flags, ...defines, "-c", at("third.bpf.c"), "-o", at(output)], {
      cwd: folder,
      cache: at("cache"),
    });
  await build("bpfel", "little.o");
  await build("bpfel", "symbols.o", "-DSYMBOLS");
  await build("bpfeb", "big.o", "-DSYMBOLS");
});
afterAll(() => rm(folder, { recursive: true }));

const values = new Map<string, bigint>([
  ["one", 0xfen],
  ["two", 0xfedcn],
  ["four", 0xfedcba98n],
  ["eight", 0xfedcba9876543210n],
]);

/** Loads an object as bpftool does, in a mount namespace of its own, and returns what a command prints meanwhile. */
const withLoaded = async (object: string, command: string): Promise<string> => {
  const script = `mount -t bpf bpf /sys/fs/bpf && bpftool prog loadall ${object} /sys/fs/bpf/p && ${command}`;
  return (await run(["unshare", "--mount", "sh", "-ec", script])).stdout;
};

test("variables of every width get their values, as bpftool sees them in the loaded map, and no other byte changes", async () => {
  const before = await bytesOf("little.o");
  const baked = new EbpfObject(before, "little.o").bake(values);
  await Bun.write(at("baked.o"), baked);
  const dump = await withLoaded(
    at("baked.o"),
    "bpftool --json map dump id $(bpftool --json prog show pinned /sys/fs/bpf/p/program | jq '.map_ids[]' | while read id; do bpftool --json map show id $id | jq -r 'select(.name | endswith(\".rodata\")) | .id'; done)",
  );
  // Numbers of 64 bits are beyond JSON.parse.
  const text = dump.replaceAll(/\s/g, "");
  expect(text).toContain('"one":254');
  expect(text).toContain('"two":65244');
  expect(text).toContain('"four":4275878552');
  expect(text).toContain('"eight":18364758544493064720');
  expect(text).toContain('"other":5');
  const changed = [...baked.keys()].filter((index) => baked[index] !== before[index]);
  expect(changed.length).toBe(1 + 2 + 4 + 8);
  expect(baked.length).toBe(before.length);
});

test("symbols become absolute, their loads get the value and lose their relocations, as readelf and libbpf say", async () => {
  const object = new EbpfObject(await bytesOf("symbols.o"), "symbols.o");
  expect(object.constants.map(({ name }) => name).filter((name) => name.endsWith("_symbol"))).toEqual([
    "first_symbol",
    "second_symbol",
  ]);
  const symbols = new Map([
    ["first_symbol", 0x1122334455667788n],
    ["second_symbol", 7n],
  ]);
  await Bun.write(at("defined.o"), object.bake(symbols));
  const { stdout } = await run(["readelf", "--wide", "--symbols", at("defined.o")]);
  expect(stdout).toMatch(/1122334455667788 +0 NOTYPE +GLOBAL DEFAULT +ABS first_symbol/);
  expect((await run(["readelf", "--wide", "--relocs", at("defined.o")])).stdout).not.toContain("_symbol");
  const dump = await withLoaded(at("defined.o"), "bpftool prog dump xlated pinned /sys/fs/bpf/p/loads");
  expect(dump).toContain("0x1122334455667788");
  expect(dump).toContain("= 0x7");
  // The absent value has all 64 bits; what was baked can be read again, and has no such constant any more.
  const again = new EbpfObject(
    object.bake(new Map([...symbols.keys()].map((name) => [name, null]))),
    "again.o",
  );
  expect(again.constants.map(({ name }) => name)).not.toContain("first_symbol");
  // One of the two is not enough for libbpf.
  const half = object.bake(new Map([["first_symbol", 1n]]));
  expect(() => new Libbpf(assetBytes("libbpf.so")).openObject(half, "half")).toThrow("half");
});

test("big-endian objects keep their byte order", async () => {
  const object = new EbpfObject(await bytesOf("big.o"), "big.o");
  await Bun.write(
    at("big-baked.o"),
    object.bake(new Map([...values, ["first_symbol", 0x1122334455667788n]])),
  );
  const { stdout } = await run(["readelf", "--hex-dump=.rodata", at("big-baked.o")]);
  const text = [...stdout.matchAll(/^ +0x\w+ ((?:\w{8} ?|\w{2,6} )+)/gm)]
    .map(([, hex = ""]) => hex.replaceAll(" ", ""))
    .join("");
  for (const value of ["fedcba9876543210", "fedcba98", "fedc"]) expect(text).toContain(value);
  const relocs = (await run(["readelf", "--wide", "--relocs", at("big-baked.o")])).stdout;
  expect(relocs).not.toContain("first_symbol");
  expect(relocs).toContain("second_symbol");
  const code = Buffer.from(await bytesOf("big-baked.o"));
  // BPF_LD | BPF_IMM | BPF_DW, its low half, the second instruction, the high half.
  const load = /18..0000556677880000000011223344/;
  expect(code.toString("hex")).toMatch(load);
});

test("constants that lie over each other are an error of the object: one value would spoil the other", async () => {
  const { stdout } = await run(["readelf", "--wide", "--symbols", at("little.o")]);
  const placeOf = (name: string) =>
    BigInt(`0x${new RegExp(`: (\\w{16}) .* ${name}$`, "m").exec(stdout)?.[1]}`);
  const bytes = Buffer.from(await bytesOf("little.o"));
  // Elf64_Sym of `four`, of which the value and the size are known: both 64 bits, one after the other.
  const entry = (value: bigint) => {
    const wanted = Buffer.alloc(16);
    wanted.writeBigUInt64LE(value);
    wanted.writeBigUInt64LE(4n, 8);
    return wanted;
  };
  const place = bytes.indexOf(entry(placeOf("other")));
  expect(place).toBeGreaterThan(0);
  bytes.set(entry(placeOf("eight") + 4n), place);
  const object = new EbpfObject(bytes, "over.o");
  expect(Buffer.from(object.bake(new Map([["other", 1n]]))).equals(bytes)).toBe(false);
  const both = new Map([
    ["eight", 1n],
    ["other", 1n],
  ]);
  expect(() => object.bake(both)).toThrow(/^over\.o: (?:other lies over eight|eight lies over other) /);
});

test("what does not fit is an error that names it", async () => {
  const object = new EbpfObject(await bytesOf("little.o"), "little.o");
  const bake = (name: string, value: bigint) => () => object.bake(new Map([[name, value]]));
  expect(bake("one", 256n)).toThrow("little.o: one is 256, which does not fit into its 1 byte");
  expect(bake("two", 65536n)).toThrow("little.o: two is 65536, which does not fit into its 2 bytes");
  expect(bake("four", 1n << 32n)).toThrow(BakeError);
  expect(bake("eight", 1n << 64n)).toThrow(BakeError);
  expect(bake("four", -1n)).toThrow("little.o: four is -1");
  expect(bake("many", 1n)).toThrow("little.o: many has 12 bytes; a constant has 1, 2, 4 or 8");
  // Neither another case nor a variable that can be written is meant.
  expect(
    Buffer.from(
      object.bake(
        new Map([
          ["ONE", 3n],
          ["written", 3n],
        ]),
      ),
    ),
  ).toEqual(Buffer.from(await bytesOf("little.o")));
});

describe("a file that is hostile", () => {
  test.each<[what: string, change: (bytes: Buffer) => Buffer, message: string]>([
    ["empty", () => Buffer.alloc(0), "0 bytes are too few"],
    ["not ELF", (bytes) => bytes.fill(0, 0, 4), "not an ELF file (at offset 0x0)"],
    ["32 bits", (bytes) => bytes.fill(1, 4, 5), "not a 64-bit ELF file (at offset 0x4)"],
    ["another machine", (bytes) => bytes.fill(62, 18, 19), "not an eBPF object"],
    ["cut short", (bytes) => bytes.subarray(0, bytes.length - 100), "beyond the end"],
    [
      "sections at the end of numbers",
      (bytes) => bytes.fill(0xff, 40, 48),
      "larger than any file (at offset 0x28)",
    ],
  ])("%s", async (_what, change, message) => {
    const bytes = change(Buffer.from(await bytesOf("symbols.o")));
    expect(() => new EbpfObject(bytes, "hostile.o")).toThrow(`hostile.o: `);
    expect(() => new EbpfObject(bytes, "hostile.o")).toThrow(message);
  });

  test("any byte changed is an error of the input, or an object", async () => {
    const good = await bytesOf("symbols.o");
    const all = new Map([...values, ["first_symbol", 1n], ["second_symbol", 2n]] as const);
    let [errors, random] = [0, 1];
    for (let round = 0; round < 3000; round++) {
      const bytes = Buffer.from(good);
      for (let change = 0; change < 1 + (round % 3); change++) {
        random = (Math.imul(random, 1103515245) + 12345) >>> 0;
        // Mostly in what is parsed: the header, and the section headers and the symbols, which stand last.
        const spread = round % 2 === 0 ? 64 : 4000;
        const place = round % 2 === 0 ? random % spread : bytes.length - 1 - (random % spread);
        bytes[place] = (random >>> 16) & 0xff;
      }
      try {
        new EbpfObject(bytes, "hostile.o").bake(all);
      } catch (error) {
        errors++;
        if (!(error instanceof InputError || error instanceof BakeError)) throw error;
      }
    }
    expect(errors).toBeGreaterThan(100);
  });
});

test("BTF of which any byte is changed is an error of the input, or read", async () => {
  const good = Buffer.from(await bytesOf("symbols.o"));
  expect(new EbpfObject(good, "good.o").unresolved).toEqual(["first_symbol", "second_symbol"]);
  const start = good.indexOf(Buffer.from([0x9f, 0xeb, 1, 0]));
  expect(start).toBeGreaterThan(64);
  let [errors, random] = [0, 1];
  for (let round = 0; round < 3000; round++) {
    const bytes = Buffer.from(good);
    random = (Math.imul(random, 1103515245) + 12345) >>> 0;
    bytes[start + ((random >>> 8) % (round % 2 === 0 ? 24 : 600))] = random & 0xff;
    try {
      expect(new EbpfObject(bytes, "hostile.o").unresolved.length).toBeLessThanOrEqual(2);
    } catch (error) {
      errors++;
      if (!(error instanceof InputError)) throw error;
      expect(error.message).toStartWith("hostile.o: BTF: ");
    }
  }
  expect(errors).toBeGreaterThan(100);
});

describe.each(bakedObjects)("%s", (name) => {
  test("loads by libbpf and by bpftool, with and without values", async () => {
    const values = new Map(
      embeddedObject(name).constants.map((constant, index) => [constant.name, BigInt(8 * index)] as const),
    );
    for (const [kind, given] of [
      ["absent", new Map<string, bigint>()],
      ["given", values],
    ] as const) {
      const bytes = bakeEmbedded(name, given);
      using object = new Libbpf(assetBytes("libbpf.so")).openObject(bytes, name);
      object.load();
      const path = at(`${name}.${kind}.o`);
      await Bun.write(path, bytes);
      const programs = (await withLoaded(path, "ls /sys/fs/bpf/p")).trim().split("\n");
      expect(programs.sort()).toEqual(
        embeddedObject(name)
          .programs.map((program) => program.name)
          .sort(),
      );
    }
  });

  test("has constants that bpftool makes a skeleton of, and four bytes each", async () => {
    const path = at(`${name}.skeleton.o`);
    await Bun.write(path, bakeEmbedded(name, new Map()));
    const { stdout } = await run(["bpftool", "gen", "skeleton", path, "name", "skeleton"]);
    const { constants } = embeddedObject(name);
    expect(constants.length).toBeGreaterThan(10);
    for (const constant of constants) {
      if (name.endsWith("_old")) expect(stdout).not.toContain(constant.name);
      else expect(stdout).toMatch(new RegExp(`__u32 ${constant.name};`));
    }
  });
});

test.each([
  ["tls_event", tlsEvent, "tls_openssl_3_2_old"],
  ["tls_event", tlsEvent, "tls_boringssl_old"],
  ["socket_event", socketEvent, "socket_reader_old"],
] as const)("struct %s lies in memory as user space reads it", async (name, layout, object) => {
  const { stdout } = await run([
    "bpftool",
    "--json",
    "btf",
    "dump",
    "file",
    join(repository, `assets/bpf/x64/${object}.o`),
  ]);
  const { types } = JSON.parse(stdout) as {
    types: { name: string; kind: string; size: number; members: { name: string; bits_offset: number }[] }[];
  };
  const struct = types.find((type) => type.kind === "STRUCT" && type.name === name);
  expect(struct?.size).toBe(layout.size);
  const offsets = Object.fromEntries(
    (struct?.members ?? []).map((member) => [member.name, member.bits_offset / 8]),
  );
  expect(offsets).toEqual(
    Object.fromEntries(Object.entries(layout.members).map(([member, [offset]]) => [member, offset])),
  );
  // Members follow each other without a gap, so that their offsets tell their sizes.
  const ends = Object.values(layout.members).map(([offset, size]) => offset + size);
  expect(ends).toEqual([
    ...Object.values(layout.members)
      .map(([offset]) => offset)
      .slice(1),
    layout.size,
  ]);
});
