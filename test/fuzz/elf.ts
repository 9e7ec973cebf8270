import { readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { memoryFile } from "../../ffi/descriptors.ts";
import { Elf } from "../../src/elf/elf.ts";
import { definesStatic, findFunctions } from "../../src/elf/symbols.ts";
import { InputFile } from "../../src/input/input.ts";
import { holdsTls } from "../../src/tls/find/holds.ts";
import { otherInside, otherLibrary } from "../../src/tls/find/other-libraries.ts";
import { Signatures } from "../../src/tls/identify/identify.ts";
import type { Range, Sample } from "./mutate.ts";
import {
  buildLibrary,
  type Input,
  inputName,
  type Opened,
  printedBy,
  same,
  type Target,
  unlessRefused,
} from "./target.ts";

const source = `
const char text[] = "OpenSSL 3.0.22 1 Apr 2026";
void *SSL_new(void *c) { return c; }
int SSL_version(int *s) { return s[0]; }
void *SSL_get_rbio(char *s) { return *(void **)(s + 16); }
static __attribute__((used, noinline)) int hidden(int a) { return a + 1; }
`;
const nodes = "OPENSSL_3.0.0 { global: SSL_version; };\nOPENSSL_3.2.0 { global: *; } OPENSSL_3.0.0;\n";
/** The functions that are looked for. */
const names = ["SSL_new", "SSL_version", "SSL_get_rbio", "hidden", "missing"];

/** Libraries as a linker makes them, in each form that the reader tells apart. */
function libraries(folder: string): readonly string[] {
  const script = join(folder, "nodes.map");
  const needed = buildLibrary(
    join(folder, "needed"),
    "libneeded.so.1",
    "int f;",
    "-Wl,-soname,libneeded.so.1",
  );
  writeFileSync(script, nodes);
  const linked = (name: string, ...flags: string[]) =>
    buildLibrary(folder, name, source, "-Wl,--no-as-needed", needed, `-Wl,-soname,${name}`, ...flags);
  return [
    linked(
      "gnu.so.1",
      "-Wl,--hash-style=gnu,--build-id=sha1,--enable-new-dtags",
      `-Wl,-rpath,/opt/lib:$ORIGIN,--version-script,${script}`,
    ),
    linked("sysv.so.1", "-Wl,--hash-style=sysv,--disable-new-dtags,-rpath,/opt/lib", "-g"),
    linked("stripped.so.1", "-Wl,--hash-style=both,--build-id=md5,-f,libother.so.2", "-s"),
  ];
}

/** Headers, and the tables that they lead to: all that lies below the first code, and the sections' headers at the end. */
export function tablesOf(path: string): readonly Range[] {
  const sections = sectionsOf(path);
  const size = readFileSync(path).length;
  const tables = sections.filter(
    ({ name }) => !/^\.(text|rodata|data|bss|eh_frame|debug|comment)/.test(name),
  );
  const first = Math.max(...sections.map(({ offset, size }) => offset + size));
  return [
    [0, 64 + 56 * 16],
    [first, size],
    ...tables.map(({ offset, size }): Range => [offset, offset + size]),
  ];
}

export interface ReadSection {
  readonly name: string;
  readonly address: number;
  readonly offset: number;
  readonly size: number;
}

/** Sections of a sound file, as readelf tells them; those without bytes are left out. */
export const sectionsOf = (path: string): readonly ReadSection[] =>
  [
    ...(printedBy(["readelf", "-SW", path]) ?? "").matchAll(/^ +\[ *\d+\] (\S*) +(\w+) +(\w+) (\w+) (\w+)/gm),
  ].flatMap(([, name = "", type, ...numbers]) => {
    const [address = 0, offset = 0, size = 0] = numbers.map((text) => Number.parseInt(text, 16));
    return type === "NOBITS" || type === "NULL" ? [] : [{ name, address, offset, size }];
  });

/** Functions of a sound file's dynamic symbols, as readelf tells them: where their code lies in the file. */
export function functionsOf(path: string): ReadonlyMap<string, Range> {
  const sections = sectionsOf(path);
  const rows = (printedBy(["readelf", "--dyn-syms", "-W", path]) ?? "").matchAll(
    /^ +\d+: (\w+) +(\d+) FUNC +\w+ +\w+ +\d+ ([^@\s]+)/gm,
  );
  return new Map(
    [...rows].flatMap(([, value = "", size = "", name = ""]) => {
      const address = Number.parseInt(value, 16);
      const home = sections.find((one) => one.address <= address && address < one.address + one.size);
      if (home === undefined) return [];
      const start = address - home.address + home.offset;
      return [[name, [start, start + Number(size)] as const] as const];
    }),
  );
}

/** Whether a text is one that readelf prints as it is. */
const isPlain = (text: string | null): boolean => text === null || /^[\x21-\x5a\x5e-\x7e]*$/.test(text);

/** Holds the dynamic section and the symbols against what readelf makes of the same file, where that has no complaint. */
function compare(path: string, elf: Elf): void {
  const told = unlessRefused(() => elf.dynamic());
  const printed = printedBy(["readelf", "-dW", path]);
  const texts = told === null ? [] : [...told.needed, told.soname, told.rpath, told.runpath];
  if (told !== null && printed !== null && texts.every(isPlain)) {
    const all = (tag: string) =>
      [...printed.matchAll(new RegExp(`\\(${tag}\\) +[\\w ]+: \\[(.*)\\]$`, "gm"))].map(([, text]) => text);
    same("NEEDED", told.needed, all("NEEDED"));
    same("SONAME", told.soname, all("SONAME").at(-1) ?? null);
    same("RPATH", told.rpath, all("RPATH").at(-1) ?? null);
    same("RUNPATH", told.runpath, all("RUNPATH").at(-1) ?? null);
  }
  const symbols = printedBy(["readelf", "-DsW", path]);
  if (symbols === null) return;
  for (const name of names) {
    const found = unlessRefused(() => [...elf.dynamicSymbols(name)]);
    const rows = [...symbols.matchAll(/^ +\d+: (\w+) +(\w+) \w+ +\w+ +\w+ +\w+ ([^@\s]+)/gm)]
      .filter(([, , , each]) => each === name)
      .map(([, value = "", size = ""]) => [Number.parseInt(value, 16), Number(size)]);
    for (const { address, size } of found ?? []) {
      // It lists as many as the hash table tells, which may be too few by now.
      if (rows.length > 0 && !rows.some(([at, length]) => at === address && length === size))
        same(`symbol ${name}`, [address, size], rows);
    }
  }
}

/** All that the reader tells of a file. */
function readAll(elf: Elf): void {
  const parts = [
    () => elf.sections(),
    () => elf.dynamic(),
    () => elf.versionNodes(),
    () => elf.buildId(),
    () => definesStatic(elf, "SSL_new"),
    () => holdsTls(elf),
    () => new Signatures().of(elf),
    () => names.map((name) => elf.defines(name)),
    () => otherLibrary(elf),
    () => otherInside(elf),
    () => {
      for (const list of findFunctions(elf, names).values())
        for (const { address, size } of list) unlessRefused(() => elf.code(address, size));
    },
  ];
  for (const part of parts) unlessRefused(part);
}

export const elf: Target = {
  name: "elf",
  what: "ELF files: headers, segments, dynamic section, hashes, symbols, version nodes, notes, texts",
  share: 120,
  compared: 400,
  open: async (folder): Promise<Opened> => {
    const paths = libraries(folder);
    const samples = paths.map((path): Sample => ({ bytes: readFileSync(path), hot: tablesOf(path) }));
    const file = join(folder, "compared");
    return {
      samples,
      read: ({ bytes, isCompared }: Input) => {
        using memory = memoryFile("input", bytes);
        using elf = Elf.of(InputFile.of(memory.fd, inputName));
        readAll(elf);
        if (isCompared) {
          writeFileSync(file, bytes);
          compare(file, elf);
        }
        return true;
      },
    };
  },
};
