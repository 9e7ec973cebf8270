import { elfMachine, elfType, fileHeader, sectionEntry, sectionType, symbolEntry } from "./records.ts";

const machines = { x64: elfMachine.x86_64, arm64: elfMachine.aarch64 } as const;

/**
 * An ELF64 file, relocatable and little-endian, of one section. The same section gives the same bytes. Its symbol table has no
 * symbol: cilium/ebpf reads no file without a table.
 * @param machine whose the file is
 */
export function elfOf(machine: keyof typeof machines, name: string, content: Uint8Array): Uint8Array {
  const names = Buffer.from(`\0${name}\0.strtab\0.symtab\0`, "latin1");
  const namesAt = fileHeader.size + content.length;
  const symbolsAt = Math.ceil((namesAt + names.length) / 8) * 8;
  const tableAt = symbolsAt + symbolEntry.size; // the first entry of a symbol table is all zeros
  const bytes = Buffer.alloc(tableAt + 4 * sectionEntry.size);
  bytes.set([0x7f, 0x45, 0x4c, 0x46, 2, 1, 1]);
  bytes.writeUInt32LE(1, fileHeader.version);
  bytes.writeUInt32LE(tableAt, fileHeader.sections);
  for (const [at, value] of [
    [fileHeader.type, elfType.relocatable],
    [fileHeader.machine, machines[machine]],
    [fileHeader.ownSize, fileHeader.size],
    [fileHeader.sectionSize, sectionEntry.size],
    [fileHeader.sectionCount, 4],
    [fileHeader.names, STRINGS],
  ] as const)
    bytes.writeUInt16LE(value, at);
  bytes.set(content, fileHeader.size);
  bytes.set(names, namesAt);
  const nameAt = (section: string) => names.indexOf(`\0${section}\0`) + 1;
  const sections = [
    { name: nameAt(name), type: sectionType.progbits, at: fileHeader.size, size: content.length },
    { name: nameAt(".strtab"), type: sectionType.strtab, at: namesAt, size: names.length },
    { name: nameAt(".symtab"), type: sectionType.symtab, at: symbolsAt, size: symbolEntry.size },
  ];
  for (const [index, section] of sections.entries()) {
    const entry = tableAt + (index + 1) * sectionEntry.size;
    bytes.writeUInt32LE(section.name, entry + sectionEntry.name);
    bytes.writeUInt32LE(section.type, entry + sectionEntry.type);
    bytes.writeUInt32LE(section.at, entry + sectionEntry.offset);
    bytes.writeUInt32LE(section.size, entry + sectionEntry.length);
    bytes.writeUInt32LE(section.type === sectionType.symtab ? 8 : 1, entry + sectionEntry.align);
    if (section.type !== sectionType.symtab) continue;
    bytes.writeUInt32LE(STRINGS, entry + sectionEntry.link);
    bytes.writeUInt32LE(1, entry + sectionEntry.info); // the first that is not local
    bytes.writeUInt32LE(symbolEntry.size, entry + sectionEntry.entsize);
  }
  return new Uint8Array(bytes);
}

/** The number of the section with all names. */
const STRINGS = 2;
