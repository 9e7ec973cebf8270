import { afterAll, beforeAll, describe, expect, test } from "bun:test";
import {
  copyFileSync,
  mkdtempSync,
  openSync,
  readFileSync,
  rmSync,
  symlinkSync,
  truncateSync,
  writeFileSync,
  writeSync,
} from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { ClosedError } from "../../../ffi/error.ts";
import { Elf } from "../../../src/elf/elf.ts";
import { definesStatic } from "../../../src/elf/symbols.ts";
import { InputError, InputFile } from "../../../src/input/input.ts";
import { debianPackage, fetchTimeout, loadSamples, samples } from "../tls/debian.ts";
import { seeded } from "./seeded.ts";

const readelf = (...args: string[]): string =>
  Bun.spawnSync(["readelf", "--wide", ...args], { stderr: "ignore" }).stdout.toString();

let folder = "";
let files: string[] = [];
beforeAll(async () => {
  await loadSamples();
  folder = mkdtempSync(join(tmpdir(), "offsetof-elf-"));
  files = samples.flatMap(({ suite, arch, name }) => {
    const { root } = debianPackage(suite, arch, name);
    return [...new Bun.Glob("**/lib{ssl,crypto}.so*").scanSync({ cwd: root, absolute: true })];
  });
}, fetchTimeout);
afterAll(() => rmSync(folder, { recursive: true }));

const hex = (text: string | undefined): number => Number.parseInt(text ?? "", 16);

/** A libssl of this folder that the tests may damage. */
function copyOfLibssl(name: string): string {
  const from = files.find((file) =>
    file.endsWith(join("bookworm-amd64/libssl3/root", "usr/lib/x86_64-linux-gnu/libssl.so.3")),
  );
  if (from === undefined) throw new Error("no libssl.so.3 among the samples");
  copyFileSync(from, join(folder, name));
  return join(folder, name);
}

/** As `sstrip` does: no section headers, and nothing of the file behind its last segment. */
function stripSections(path: string): void {
  using elf = Elf.open(path);
  const end = Math.max(...elf.programHeaders.map((one) => one.offset + one.filesz));
  const bytes = Buffer.from(readFileSync(path).subarray(0, end));
  bytes.writeBigUInt64LE(0n, 40);
  bytes.fill(0, 58, 64);
  writeFileSync(path, bytes);
}

/** Everything the reader can tell; it must end, and throw nothing but InputError. */
function readAll(path: string): "answered" | "refused" {
  const attempt = (read: () => unknown): boolean => {
    try {
      read();
      return true;
    } catch (error) {
      if (!(error instanceof InputError)) throw error;
      if (!error.message.startsWith(`${path}: `)) throw new Error(`names no file: ${error.message}`);
      return false;
    }
  };
  let elf: Elf | undefined;
  attempt(() => {
    elf = Elf.open(path);
  });
  using opened = elf;
  if (opened === undefined) return "refused";
  const reads = [
    () => opened.dynamic(),
    () => opened.buildId(),
    () => opened.versionNodes(),
    () => opened.sections(),
    () => opened.defines("SSL_new"),
    () => opened.defines("no such symbol"),
    () => definesStatic(opened, "SSL_new"),
    () => {
      for (const region of opened.readOnly()) for (const _ of opened.bytes(region));
    },
  ];
  return reads.map(attempt).every((answered) => answered) ? "answered" : "refused";
}

describe("an ELF file reads as readelf reads it", () => {
  test("there are samples of both architectures", () => {
    expect(files.length).toBe(2 * samples.length);
    expect(files.some((file) => file.includes("aarch64"))).toBe(true);
  });

  test("build-id, NEEDED, SONAME, RPATH and RUNPATH", () => {
    for (const file of files) {
      using elf = Elf.open(file);
      const said = readelf("--dynamic", "--notes", file);
      const all = (pattern: RegExp) => [...said.matchAll(pattern)].map((match) => match[1] ?? "");
      expect([file, elf.buildId()]).toEqual([file, all(/Build ID: ([0-9a-f]+)/g)[0] ?? null]);
      expect(elf.dynamic()).toEqual({
        needed: all(/\(NEEDED\) .*\[(.*)\]/g),
        filtees: all(/\((?:FILTER|AUXILIARY)\) .*\[(.*)\]/g),
        soname: all(/\(SONAME\) .*\[(.*)\]/g)[0] ?? null,
        rpath: all(/\(RPATH\) .*\[(.*)\]/g)[0] ?? null,
        runpath: all(/\(RUNPATH\) .*\[(.*)\]/g)[0] ?? null,
      });
    }
  });

  test("version nodes that are defined and needed", () => {
    let count = 0;
    for (const file of files) {
      using elf = Elf.open(file);
      const parts = readelf("--version-info", file).split("\n\n");
      const part = (title: string) => parts.find((one) => one.includes(`Version ${title} section`)) ?? "";
      const [definitions, needs] = [part("definition"), part("needs")];
      const name = /Flags: (?!BASE).*Name: (\S+)/;
      const { defined, needed } = elf.versionNodes();
      expect([file, ...defined]).toEqual([
        file,
        ...definitions.split("\n").flatMap((row) => name.exec(row)?.[1] ?? []),
      ]);
      expect(needed).toEqual(
        needs
          .split(/^.*File: /m)
          .slice(1)
          .map((part) => ({
            file: /^\S+/.exec(part)?.[0] ?? "",
            nodes: [...part.matchAll(/Name: (\S+) +Flags: none/g)].map((match) => match[1] ?? ""),
          })),
      );
      count += defined.length + needed.flatMap(({ nodes }) => nodes).length;
    }
    expect(count).toBeGreaterThan(100);
  });

  test("machine, program headers and section headers", () => {
    for (const file of files) {
      using elf = Elf.open(file);
      expect(elf.type).toBe("shared");
      expect(elf.machine).toBe(file.includes("aarch64") ? "aarch64" : "x86_64");
      const segments = readelf("--program-headers", file).matchAll(
        /^ {2}[A-Z_]+ +0x([0-9a-f]+) 0x([0-9a-f]+) 0x[0-9a-f]+ 0x([0-9a-f]+) 0x([0-9a-f]+) ([R ][W ][E ]) (?:0x)?([0-9a-f]+)$/gm,
      );
      const flags = (text: string | undefined) =>
        (text?.includes("R") ? 4 : 0) + (text?.includes("W") ? 2 : 0) + (text?.includes("E") ? 1 : 0);
      expect(elf.programHeaders.map(({ type: _, ...rest }) => rest)).toEqual(
        [...segments].map(([, offset, vaddr, filesz, memsz, flag, align]) => ({
          flags: flags(flag),
          offset: hex(offset),
          vaddr: hex(vaddr),
          filesz: hex(filesz),
          memsz: hex(memsz),
          align: hex(align),
        })),
      );
      const sections = readelf("--section-headers", file).matchAll(
        /^ +\[ *\d+\] (\S*) +[A-Z_0-9]+ +[0-9a-f]{16} ([0-9a-f]+) ([0-9a-f]+) /gm,
      );
      expect(elf.sections().map(({ name, offset, size }) => ({ name, offset, size }))).toEqual(
        [...sections].map(([, name, offset, size]) => ({
          name: name ?? "",
          offset: hex(offset),
          size: hex(size),
        })),
      );
    }
  });

  test("a program with an RPATH of its own", () => {
    const path = copyOfLibssl("rpath.so");
    using before = Elf.open(path);
    expect(before.dynamic().rpath).toBeNull();
    // No linker is at hand: the tag of SONAME (14) becomes RPATH (15), and readelf must see the same.
    const dynamic = before.programHeaders.find((one) => one.type === 2);
    const bytes = readFileSync(path);
    const at = dynamic?.offset ?? 0;
    for (let entry = at; entry < at + (dynamic?.filesz ?? 0); entry += 16) {
      if (bytes.readUInt32LE(entry) === 14) bytes.writeUInt32LE(15, entry);
    }
    writeFileSync(path, bytes);
    using elf = Elf.open(path);
    expect(elf.dynamic()).toMatchObject({ soname: null, rpath: "libssl.so.3" });
    expect(readelf("--dynamic", path)).toContain("Library rpath: [libssl.so.3]");
  });

  test("the same without section headers", () => {
    const path = copyOfLibssl("stripped.so");
    using whole = Elf.open(path);
    const before = { dynamic: whole.dynamic(), id: whole.buildId() };
    stripSections(path);
    using elf = Elf.open(path);
    expect(elf.sections()).toEqual([]);
    expect({ dynamic: elf.dynamic(), id: elf.buildId() }).toEqual(before);
    const regions = elf.readOnly();
    expect(regions.map((one) => one.name)).toContain("read-only segment");
    const text = regions
      .flatMap((one) => Array.from(elf.bytes(one), ({ bytes }) => bytes.toString("latin1")))
      .join("");
    expect(text).toContain("SSL_CTX_use_certificate");
  });

  test("a text on the edge of two pieces is whole in one of them", () => {
    const path = join(folder, "large");
    const bytes = Buffer.alloc(3 << 20);
    readFileSync(copyOfLibssl("large.so")).copy(bytes, 0, 0, 64);
    bytes.writeUInt16LE(0, 56);
    const text = Buffer.from(`OpenSSL 3.0.22 25 Aug 2026${"x".repeat(480)}\0`);
    const edge = 256 << 10;
    for (let at = edge - text.length - 2; at <= edge + 2; at += 13) {
      text.copy(bytes, at);
      writeFileSync(path, bytes);
      using elf = Elf.open(path);
      const region = { name: "all", offset: 0, size: bytes.length };
      expect(Array.from(elf.bytes(region), (piece) => piece.bytes.includes(text))).toContain(true);
      bytes.fill(0, at, at + text.length);
    }
  });
});

describe("what is not such a file is refused with its name and offset", () => {
  const patched = (name: string, at: number, value: number): string => {
    const path = copyOfLibssl(name);
    const fd = openSync(path, "r+");
    writeSync(fd, Buffer.from([value]), 0, 1, at);
    return path;
  };
  test.each([
    ["elf32", 4, 1, "a 32-bit ELF file is not supported (at offset 0x4)"],
    ["big-endian", 5, 2, "a big-endian ELF file is not supported (at offset 0x5)"],
    ["riscv", 18, 243, "ELF machine 243 is not supported (at offset 0x12)"],
    ["text", 0, 0x23, "not an ELF file (at offset 0x0)"],
  ])("%s", (name, at, value, message) => {
    const path = patched(name, at, value);
    expect(() => Elf.open(path)).toThrow(`${path}: ${message}`);
  });

  test("a folder, a FIFO, an empty file and a symbolic link", () => {
    expect(() => Elf.open(folder)).toThrow(`${folder}: not a regular file`);
    const fifo = join(folder, "fifo");
    Bun.spawnSync(["mkfifo", fifo]);
    expect(() => Elf.open(fifo)).toThrow(`${fifo}: not a regular file`);
    const empty = join(folder, "empty");
    writeFileSync(empty, "");
    expect(() => Elf.open(empty)).toThrow(`${empty}: 0 bytes are too few`);
    symlinkSync(empty, join(folder, "link"));
    expect(() => Elf.open(join(folder, "link"))).toThrow("ELOOP");
  });
});

describe("what is wrong inside is told with its offset", () => {
  /** Changes a copy of libssl and reads it; the places are given by the file's own headers. */
  function reading(name: string, change: (bytes: Buffer, at: (type: number) => number) => void) {
    const path = copyOfLibssl(name);
    const bytes = readFileSync(path);
    const header = (type: number): number => {
      using elf = Elf.open(path);
      return 64 + 56 * elf.programHeaders.findIndex((one) => one.type === type);
    };
    change(bytes, header);
    writeFileSync(path, bytes);
    return () => {
      using elf = Elf.open(path);
      return [elf.dynamic(), elf.buildId(), elf.sections(), elf.versionNodes()];
    };
  }
  const dynamicEntry = (bytes: Buffer, header: number, tag: number): number => {
    const start = Number(bytes.readBigUInt64LE(header + 8));
    for (let at = start; ; at += 16) if (bytes.readUInt32LE(at) === tag) return at;
  };

  test("a name outside the string table", () => {
    const read = reading("soname.so", (bytes, at) => {
      bytes.writeUInt32LE(0x10000000, dynamicEntry(bytes, at(2), 14) + 8);
    });
    expect(read).toThrow(/a string at 268435456 of a string table of \d+ bytes \(at offset 0x[0-9a-f]+\)/);
  });

  test("a string table that is in no segment", () => {
    const read = reading("strtab.so", (bytes, at) => {
      bytes.writeUInt32LE(0x70000000, dynamicEntry(bytes, at(2), 5) + 8);
    });
    expect(read).toThrow(/address 0x7[0-9a-f]+ is in no segment \(at offset 0x[0-9a-f]+\)/);
  });

  test("a string without an end", () => {
    const read = reading("endless.so", (bytes, at) => {
      bytes.writeUInt32LE(3, dynamicEntry(bytes, at(2), 10) + 8);
      bytes.writeUInt32LE(1, dynamicEntry(bytes, at(2), 1) + 8);
    });
    expect(read).toThrow("a string without an end");
  });

  test("a note larger than its segment", () => {
    const read = reading("note.so", (bytes, at) => {
      bytes.writeUInt32LE(0x7fffffff, Number(bytes.readBigUInt64LE(at(4) + 8)) + 4);
    });
    expect(read).toThrow(/a note beyond the end of its segment/);
  });

  test("version nodes beyond the file, and more than any file has", () => {
    const far = reading("far.so", (bytes, at) => {
      const section = dynamicEntry(bytes, at(2), 0x6ffffffc) + 8;
      bytes.writeUInt32LE(0x7fffffff, Number(bytes.readBigUInt64LE(section)) + 16);
    });
    expect(far).toThrow(/version node of 20 bytes beyond the end of \d+ \(at offset 0x[0-9a-f]+\)/);
    const many = reading("many.so", (bytes, at) => {
      const constants = bytes.indexOf("../ssl/bio_ssl.c") & ~3;
      // Each number is 4: the next record is that far, and so are its name's place and the name.
      for (let index = 0; index < 8192; index++) bytes.writeUInt32LE(4, constants + index * 4);
      bytes.writeBigUInt64LE(BigInt(constants), dynamicEntry(bytes, at(2), 0x6ffffffc) + 8);
      bytes.writeUInt32LE(0xffffffff, dynamicEntry(bytes, at(2), 0x6ffffffd) + 8);
    });
    expect(many).toThrow("more than 4096 version nodes");
  });

  test("an offset no file can have, and a dynamic section no file has", () => {
    expect(reading("huge.so", (bytes, at) => void bytes.writeUInt32LE(0xffffffff, at(2) + 12))).toThrow(
      "a 64-bit number larger than any file",
    );
    expect(reading("wide.so", (bytes, at) => void bytes.writeUInt32LE(0x00200000, at(2) + 32))).toThrow(
      "dynamic section of 2097152 bytes, at most 1048576",
    );
  });
});

describe("a damaged libssl gives answers or clear errors", () => {
  test("cut at 2,000 places", () => {
    const path = copyOfLibssl("cut.so");
    const { size } = Bun.file(path);
    const random = seeded(1);
    const places = Array.from({ length: 2000 }, (_, index) => (index < 700 ? index : random(size)));
    const results = places
      .sort((a, b) => b - a)
      .map((place) => {
        truncateSync(path, place);
        return readAll(path);
      });
    expect(results).toContain("refused");
  });

  test("4,000 flipped bits, most of them where structure is", () => {
    const path = copyOfLibssl("flip.so");
    const bytes = readFileSync(path);
    using elf = Elf.open(path);
    const places = [
      { offset: 0, size: 64 + elf.programHeaders.length * 56 },
      ...elf.programHeaders
        .filter((one) => one.type === 2 || one.type === 4)
        .map(({ offset, filesz }) => ({ offset, size: filesz })),
      { offset: Number(bytes.readBigUInt64LE(40)), size: bytes.readUInt16LE(60) * 64 },
      ...elf.sections().filter((one) => one.name === ".dynstr" || one.name === ".shstrtab"),
      { offset: 0, size: bytes.length },
    ];
    const random = seeded(2);
    const fd = openSync(path, "r+");
    const results = Array.from({ length: 4000 }, (_, index) => {
      const place = places[index % places.length] ?? { offset: 0, size: 1 };
      const at = place.offset + random(place.size);
      const old = bytes[at] ?? 0;
      writeSync(fd, Buffer.from([old ^ (1 << random(8))]), 0, 1, at);
      const result = readAll(path);
      writeSync(fd, Buffer.from([old]), 0, 1, at);
      return result;
    });
    expect(new Set(results)).toEqual(new Set(["answered", "refused"]));
    expect(readAll(path)).toBe("answered");
  });
});

test("a closed file answers nothing, not even what it would not have to read", () => {
  const [path = ""] = files;
  const header = readFileSync(path).subarray(0, 64);
  header.fill(0, 32, 48); // neither segments nor sections
  header.fill(0, 56, 64);
  const bare = join(folder, "bare");
  writeFileSync(bare, header);
  for (const each of [path, bare]) {
    const elf = Elf.open(each);
    elf[Symbol.dispose]();
    const asks = [
      () => elf.fd,
      () => elf.sections(),
      () => elf.dynamic(),
      () => elf.versionNodes(),
      () => elf.defines("SSL_new"),
      () => definesStatic(elf, "SSL_new"),
      () => elf.buildId(),
      () => elf.readOnly(),
      () => [...elf.bytes({ name: "nothing", offset: 0, size: 0 })],
      () => elf.code(0, 0),
    ];
    for (const ask of asks) expect(ask).toThrow(ClosedError);
    const file = InputFile.open(each);
    file[Symbol.dispose]();
    expect(() => file.read(0, 0, "nothing", 0)).toThrow(ClosedError);
    expect(() => file.readInto(Buffer.alloc(0), 0, "nothing")).toThrow(ClosedError);
  }
});
