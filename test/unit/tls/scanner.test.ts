import { beforeAll, expect, test } from "bun:test";
import { join } from "node:path";
import { Elf } from "../../../src/elf/elf.ts";
import { type ProgramHeader, segment, segmentFlag } from "../../../src/elf/records.ts";
import { loadDecoder } from "../../../src/tls/machine/decoder.ts";
import { loadScanner, type Sought } from "../../../src/tls/machine/scanner.ts";
import { debianPackage, fetchTimeout, loadSamples } from "./debian.ts";

const libssl = "/usr/lib/x86_64-linux-gnu/libssl.so.3";

beforeAll(loadSamples, fetchTimeout);

/** Pairs of an instruction's address and that in it; of relocations of the place and what it points to. */
type Pairs = ReadonlyMap<number, number>;

/** What binutils prints of a file, by a pattern with two addresses in it. */
function printed(command: readonly string[], pattern: RegExp): Pairs {
  const { stdout } = Bun.spawnSync([...command], { maxBuffer: 64 << 20 });
  return new Map(
    [...stdout.toString().matchAll(pattern)].map(([, at = "", target = ""]) => [
      Number.parseInt(at, 16),
      Number.parseInt(target, 16),
    ]),
  );
}

const codeOf = ({ programHeaders }: Elf): readonly ProgramHeader[] =>
  programHeaders.filter(({ type, flags }) => type === segment.load && (flags & segmentFlag.execute) !== 0);

/** What the scanner finds in pieces of a file. @param about where it is the same for all of a piece */
function found(
  elf: Elf,
  sought: Sought,
  truth: Pairs,
  parts: readonly ProgramHeader[],
  about?: number,
): Pairs {
  const scanner = loadScanner();
  const wanted = new Set(sought === "relocationsAt" ? truth.keys() : truth.values());
  const all = new Map<number, number>();
  for (const part of parts)
    for (const { address, bytes } of elf.windows(part, scanner.window, about === undefined ? 64 : 0))
      scanner.look({ sought, wanted, length: bytes.length, about: about ?? address }, (at, target) =>
        all.set(at, target),
      );
  return all;
}

/** Those of the truth that are missing or told otherwise. What is told besides are bytes that only look so. */
const wrongOf = (told: Pairs, truth: Pairs): readonly (readonly [number, number])[] =>
  [...truth].filter(([at, target]) => told.get(at) !== target);

test("every call and jump that objdump shows is found, more than are told at a time", () => {
  using elf = Elf.open(libssl, libssl, { follow: true });
  const pattern = /^ +([0-9a-f]+):\te[89] .*(?:call|jmp) +([0-9a-f]+) /gm;
  const truth = printed(["objdump", "--disassemble", libssl], pattern);
  expect(truth.size).toBeGreaterThan(8192);
  expect(wrongOf(found(elf, "x86Transfers", truth, codeOf(elf)), truth)).toEqual([]);
});

test("every address that objdump shows as named is found, and each function that is called is noted", () => {
  using elf = Elf.open(libssl, libssl, { follow: true });
  const disassembled = ["objdump", "--disassemble", "--wide", libssl];
  const truth = printed(disassembled, /^ +([0-9a-f]+):\t4[8-f] 8d .*lea .*\(%rip\).* # ([0-9a-f]+) /gm);
  expect(truth.size).toBeGreaterThan(1000);
  const [code] = codeOf(elf);
  if (code === undefined) throw new Error("no code");
  const notes = loadScanner().note(code.vaddr - (code.vaddr % 16), code.filesz + 16, 4);
  expect(wrongOf(found(elf, "x86Movable", truth, codeOf(elf)), truth)).toEqual([]);
  expect(wrongOf(found(elf, "x86Fixed", truth, codeOf(elf)), truth)).toEqual([]);
  const bits = notes();
  const calls = printed(disassembled, /^ +([0-9a-f]+):\te8 .*call +([0-9a-f]+) /gm);
  const targets = [...calls.values()].filter((target) => target % 16 === 0);
  expect(targets.length).toBeGreaterThan(1000);
  const isNoted = (target: number): boolean => {
    const bit = Math.floor((target - (code.vaddr - (code.vaddr % 16))) / 16);
    return ((bits[bit >> 3] ?? 0) & (1 << (bit & 7))) !== 0;
  };
  expect(targets.filter((target) => !isNoted(target))).toEqual([]);
});

test("every pointer that readelf shows as relocated is found, by where it lies and by what it points to", () => {
  using elf = Elf.open(libssl, libssl, { follow: true });
  const truth = printed(
    ["readelf", "--wide", "--relocs", libssl],
    /^([0-9a-f]+) +0+8 R_X86_64_RELATIVE +([0-9a-f]+)$/gm,
  );
  expect(truth.size).toBeGreaterThan(1000);
  const table = elf.relocations();
  const [first] = elf.programHeaders.filter(({ type }) => type === segment.load);
  if (table === null || first === undefined) throw new Error("no relocations");
  const part = { ...first, vaddr: table.address, offset: table.address, filesz: table.size };
  expect(wrongOf(found(elf, "relocationsAt", truth, [part], 8), truth)).toEqual([]);
  expect(wrongOf(found(elf, "relocationsTo", truth, [part], 8), truth)).toEqual([]);
});

test("on arm64 every call, jump and named address that Capstone decodes is found", async () => {
  const { root } = debianPackage("bookworm", "arm64", "android-libboringssl");
  using elf = Elf.open(join(root, "usr/lib/aarch64-linux-gnu/android/libssl.so.0"));
  const decoder = loadDecoder("aarch64");
  const [transfers, names] = [new Map<number, number>(), new Map<number, number>()];
  for (const part of codeOf(elf)) {
    for (const { address, bytes } of elf.windows(part, Buffer.alloc(1 << 14), 0)) {
      let page: { readonly at: number; readonly register: string; readonly page: number } | null = null;
      for (let at = 0; at < bytes.length; ) {
        const some = decoder.decode(bytes.subarray(at), address + at);
        for (const { address: place, mnemonic, operands } of some) {
          const [, target = ""] = /^#(0x[0-9a-f]+)$/.exec(operands) ?? [];
          if (/^(b|bl)$/.test(mnemonic)) transfers.set(place, Number(target));
          // The halves side by side: what lies between others may change the register.
          const [, to = "", rest = ""] = /^(x\d+), \1, #(\w+)$/.exec(operands) ?? [];
          if (mnemonic === "add" && page?.register === to && page.at === place - 4)
            names.set(page.at, page.page + Number(rest));
          const [, register = "", begin = ""] = /^(x\d+), #(0x[0-9a-f]+)$/.exec(operands) ?? [];
          page = mnemonic === "adrp" ? { at: place, register, page: Number(begin) } : null;
        }
        const last = some.at(-1);
        at = last === undefined ? at + 4 : last.address + last.size - address;
      }
    }
  }
  expect(Math.min(transfers.size, names.size)).toBeGreaterThan(100);
  expect(wrongOf(found(elf, "arm64Transfers", transfers, codeOf(elf)), transfers)).toEqual([]);
  expect(wrongOf(found(elf, "arm64Names", names, codeOf(elf)), names)).toEqual([]);
});
