import { kinds, type NewType } from "./btf.ts";

/** struct btf_header; bytes. */
const HEADER = 24;

/**
 * BTF of these types, as it stands in a file: Documentation/bpf/btf.rst of the kernel. Little-endian, as all machines that
 * this runs on. The same types give the same bytes.
 */
export function btfOf(types: readonly NewType[]): Uint8Array {
  const strings = new Map<string, number>([["", 0]]);
  let length = 1;
  const text = (name: string): number => {
    const known = strings.get(name);
    if (known !== undefined) return known;
    const offset = length;
    strings.set(name, offset);
    length += Buffer.byteLength(name, "latin1") + 1;
    return offset;
  };
  const words = Uint32Array.from(types.flatMap((type) => wordsOf(type, text)));
  const table = Buffer.from([...strings.keys()].map((name) => `${name}\0`).join(""), "latin1");
  const bytes = Buffer.alloc(HEADER + words.byteLength + table.length);
  bytes.writeUInt16LE(0xeb9f, 0);
  bytes.writeUInt8(1, 2); // version
  for (const [index, word] of [HEADER, 0, words.byteLength, words.byteLength, table.length].entries())
    bytes.writeUInt32LE(word, 4 + index * 4);
  for (const [index, word] of words.entries()) bytes.writeUInt32LE(word, HEADER + index * 4);
  table.copy(bytes, HEADER + words.byteLength);
  return new Uint8Array(bytes);
}

/** struct btf_type and what follows it, in words. */
function wordsOf(type: NewType, text: (name: string) => number): number[] {
  const head = (name: string, count: number, isFlagged: boolean, third: number): number[] => [
    text(name),
    ((isFlagged ? 2 ** 31 : 0) + (kinds[type.kind] << 24) + count) >>> 0,
    third,
  ];
  switch (type.kind) {
    case "int":
      return [...head(type.name, 0, false, type.size), ((type.encoding << 24) | (type.size * 8)) >>> 0];
    case "float":
      return head(type.name, 0, false, type.size);
    case "array":
      return [...head("", 0, false, 0), type.of, type.index, type.count];
    case "forward":
      return head(type.name, 0, type.isUnion, 0);
    case "struct":
    case "union": {
      const hasBits = type.members.some(({ bitSize }) => bitSize !== null);
      const members = type.members.flatMap(({ name, type: of, bitOffset, bitSize }) => [
        text(name),
        of,
        hasBits ? (((bitSize ?? 0) << 24) | bitOffset) >>> 0 : bitOffset,
      ]);
      return [...head(type.name, type.members.length, hasBits, type.size), ...members];
    }
    case "enum":
    case "enum64": {
      const values = type.enumerators.flatMap(({ name, value }) => [
        text(name),
        Number(BigInt.asUintN(32, value)),
        ...(type.kind === "enum64" ? [Number(BigInt.asUintN(32, value >> 32n))] : []),
      ]);
      return [...head(type.name, type.enumerators.length, type.isSigned, type.size), ...values];
    }
    case "prototype": {
      const parameters = type.parameters.flatMap(({ name, type: of }) => [text(name), of]);
      return [...head("", type.parameters.length, false, type.returns), ...parameters];
    }
    default:
      return head(type.name, 0, false, type.of);
  }
}
