/** Numbers of an ELF file's header (gabi, chapter 4), and bytes of its tables. */
const machines = { x64: 62, arm64: 183 } as const;
const [HEADER, SECTION, SYMBOL] = [64, 64, 24];
const sectionType = { progbits: 1, symbols: 2, strings: 3 } as const;

/**
 * An ELF64 file, relocatable and little-endian, of one section. The same section gives the same bytes. Its symbol table has no
 * symbol: cilium/ebpf reads no file without a table.
 * @param machine whose the file is
 */
export function elfOf(machine: keyof typeof machines, name: string, content: Uint8Array): Uint8Array {
  const names = Buffer.from(`\0${name}\0.strtab\0.symtab\0`, "latin1");
  const namesAt = HEADER + content.length;
  const symbolsAt = Math.ceil((namesAt + names.length) / 8) * 8;
  const tableAt = symbolsAt + SYMBOL; // the first entry of a symbol table is all zeros
  const bytes = Buffer.alloc(tableAt + 4 * SECTION);
  bytes.set([0x7f, 0x45, 0x4c, 0x46, 2, 1, 1]);
  bytes.writeUInt16LE(1, 16); // ET_REL
  bytes.writeUInt16LE(machines[machine], 18);
  bytes.writeUInt32LE(1, 20);
  bytes.writeUInt32LE(tableAt, 40);
  for (const [at, value] of [
    [52, HEADER],
    [58, SECTION],
    [60, 4],
    [62, STRINGS],
  ] as const)
    bytes.writeUInt16LE(value, at);
  bytes.set(content, HEADER);
  bytes.set(names, namesAt);
  const nameAt = (section: string) => names.indexOf(`\0${section}\0`) + 1;
  const sections = [
    { name: nameAt(name), type: sectionType.progbits, at: HEADER, size: content.length },
    { name: nameAt(".strtab"), type: sectionType.strings, at: namesAt, size: names.length },
    { name: nameAt(".symtab"), type: sectionType.symbols, at: symbolsAt, size: SYMBOL },
  ];
  for (const [index, section] of sections.entries()) {
    const entry = tableAt + (index + 1) * SECTION;
    bytes.writeUInt32LE(section.name, entry);
    bytes.writeUInt32LE(section.type, entry + 4);
    bytes.writeUInt32LE(section.at, entry + 24);
    bytes.writeUInt32LE(section.size, entry + 32);
    bytes.writeUInt32LE(section.type === sectionType.symbols ? 8 : 1, entry + 48); // alignment
    if (section.type !== sectionType.symbols) continue;
    bytes.writeUInt32LE(STRINGS, entry + 40);
    bytes.writeUInt32LE(1, entry + 44); // the first that is not local
    bytes.writeUInt32LE(SYMBOL, entry + 56);
  }
  return new Uint8Array(bytes);
}

/** The number of the section with all names. */
const STRINGS = 2;
