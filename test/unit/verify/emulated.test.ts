/** Instructions that programs are attached to, against objdump, which shares no code with what is tested. */
import { afterAll, expect, test } from "bun:test";
import { mkdtempSync, realpathSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import fc from "fast-check";
import { Elf } from "../../../src/elf/elf.ts";
import { emulated, emulatedPlace, LOOKED_AT, passedOver } from "../../../src/verify/emulated.ts";

const folder = mkdtempSync(join(tmpdir(), "offsetof-emulated-"));
afterAll(() => rmSync(folder, { recursive: true }));

interface Line {
  readonly at: number;
  readonly text: string;
}

/** The instructions of a disassembly. */
function disassembled(...args: string[]): Line[] {
  const { stdout, exitCode } = Bun.spawnSync(["objdump", "--wide", "--no-show-raw-insn", ...args]);
  if (exitCode !== 0) throw new Error(`objdump ${args.join(" ")}: ${exitCode}`);
  return [...stdout.toString().matchAll(/^ *([0-9a-f]+):\t(.*?)(?: *[<#].*)?$/gm)].map(([, at, text]) => ({
    at: Number.parseInt(at ?? "", 16),
    text: (text ?? "").trim(),
  }));
}

/** Whether an instruction writes its last operand, and that is the first argument's register. */
const writesArgument = (text: string): boolean =>
  /%(?:rdi|edi|di|dil)$/.test(text) && !/^(?:rex\S* )?(?:test|cmp)/.test(text);

const goesElsewhere = (text: string): boolean => /^(?:j|call|ret|loop|int|sys|hlt|ud)/.test(text);
const isEmulated = (text: string): boolean =>
  /^push +%r\w+$|^nop$/.test(text) || (/^j/.test(text) && !/^j[er]?cxz|\*/.test(text));

test.each([
  ...passedOver.map((row) => ({ row, isLast: false })),
  ...emulated.map((row) => ({ row, isLast: true })),
])("$row is one instruction, whatever its numbers are", ({ row, isLast }) => {
  const digits = new RegExp(`^(?:${row.replaceAll(".", "[0-9a-f]")})$`);
  const sled = Buffer.alloc(16, 0x90);
  const samples = fc.sample(fc.stringMatching(digits), 300).map((text) => Buffer.from(text, "hex"));
  const file = join(folder, "samples");
  writeFileSync(file, Buffer.concat(samples.flatMap((sample) => [sample, sled])));
  const lines = disassembled("-D", "-b", "binary", "-m", "i386:x86-64", file);
  const texts = new Map(lines.map(({ at, text }) => [at, text]));
  let start = 0;
  for (const sample of samples) {
    const text = texts.get(start) ?? "none";
    if (isLast) expect([text, isEmulated(text)]).toEqual([text, true]);
    else {
      const end = lines.find(({ at }) => at > start)?.at;
      expect([text, end]).toEqual([text, start + sample.length]);
      expect([text, goesElsewhere(text), writesArgument(text)]).toEqual([text, false, false]);
    }
    start += sample.length + sled.length;
  }
});

test.each(["libssl.so.3", "libgnutls.so.30"])(
  "%s: of every function, and what comes before leaves the argument",
  (name) => {
    const path = realpathSync(`/usr/lib/x86_64-linux-gnu/${name}`);
    using elf = Elf.open(path);
    const symbols = Bun.spawnSync(["nm", "-D", "--defined-only", path]).stdout.toString();
    const functions = [...symbols.matchAll(/^([0-9a-f]+) T /gm)].map(([, at = ""]) =>
      Number.parseInt(at, 16),
    );
    const lines = disassembled("-d", path);
    const numbers = new Map(lines.map(({ at }, number) => [at, number]));
    let found = 0;
    for (const address of functions) {
      const place = emulatedPlace(elf.loaded(address, LOOKED_AT));
      const [first = -1, last = -1] = [numbers.get(address), numbers.get(address + place)];
      expect([address, first >= 0, last >= first]).toEqual([address, true, true]);
      for (const { text } of lines.slice(first, last))
        expect([text, goesElsewhere(text), writesArgument(text)]).toEqual([text, false, false]);
      const text = lines[last]?.text ?? "";
      if (place > 0) expect([text, isEmulated(text)]).toEqual([text, true]);
      if (place > 0) found++;
    }
    expect(functions.length).toBeGreaterThan(500);
    expect(found).toBeGreaterThan(functions.length / 10);
  },
);

test.each([
  ["f30f1efa55", 4], // endbr64; push %rbp
  ["4883ec1831c085d2782f", 8], // sub, xor, test; js
  ["4155", 0], // push %r13
  ["4889f755", 0], // mov %rsi,%rdi; push %rbp
  ["bf0100000055", 0], // mov $1,%edi; push %rbp
  ["4883ec08e8c7fdffff", 0], // sub; call
  ["4883ec08c3", 0],
  ["4883ec", 0],
  ["4883ec08", 0],
  ["", 0],
])("%s: %d bytes behind its beginning", (code, place) => {
  expect(emulatedPlace(Buffer.from(code, "hex"))).toBe(place);
});
