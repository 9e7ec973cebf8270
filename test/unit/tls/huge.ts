import { closeSync, ftruncateSync, openSync, readFileSync, writeSync } from "node:fs";

/** Elf64_Ehdr, Elf64_Phdr and Elf64_Shdr of gabi. Bytes. */
const header = { size: 64, programs: 32, sections: 40, programCount: 56, sectionCount: 60 };
const program = { size: 56, offset: 8 };
const section = { size: 64, offset: 24 };

/**
 * Writes a copy of an ELF file of which all but the headers lies `by` bytes further on, with a hole before it: as large, and its
 * offsets as far, as those of a program with gigabytes of other things in it.
 *
 * @param by a multiple of the page's size
 */
export function writeFurtherOn(from: string, to: string, by: number): void {
  const bytes = readFileSync(from);
  const moved = Buffer.from(bytes);
  const add = (at: number): void => {
    moved.writeBigUInt64LE(moved.readBigUInt64LE(at) + BigInt(by), at);
  };
  const programs = Number(bytes.readBigUInt64LE(header.programs));
  const sections = Number(bytes.readBigUInt64LE(header.sections));
  for (let index = 0; index < bytes.readUInt16LE(header.programCount); index++)
    add(programs + index * program.size + program.offset);
  for (let index = 0; sections > 0 && index < bytes.readUInt16LE(header.sectionCount); index++)
    add(sections + index * section.size + section.offset);
  if (sections > 0) add(header.sections);
  const fd = openSync(to, "w");
  try {
    ftruncateSync(fd, by + moved.length);
    for (let at = 0; at < moved.length; ) at += writeSync(fd, moved, at, moved.length - at, by + at);
    writeSync(fd, moved, 0, programs + bytes.readUInt16LE(header.programCount) * program.size, 0);
  } finally {
    closeSync(fd);
  }
}
