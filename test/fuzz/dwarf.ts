import { readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { memoryFile } from "../../ffi/descriptors.ts";
import { imageDocument, soughtFor } from "../../src/image/image.ts";
import { kernelIn } from "../../src/image/kernel-file.ts";
import { InputFile } from "../../src/input/input.ts";
import { askedOf } from "../../src/kernel/asked.ts";
import { tool } from "../images.ts";
import { sectionsOf } from "./elf.ts";
import { type Input, inputName, type Opened, sampleOf, type Target } from "./target.ts";

const source = `
typedef struct { int counter; } atomic_t;
enum state { CLOSED = 7, OPEN = -3, WIDE = 0x1fffffffffffffLL };
struct sock_common { union { long pair; struct { int daddr, saddr; }; }; unsigned reuse : 4, v6 : 1; };
struct sock { struct sock_common common; atomic_t refs[3][4]; enum state sk_state; void (*ready)(void); };
struct tcp_sock { struct sock sk; const volatile char flags[5]; struct sock *restrict next; char tail[]; };
struct tcp_sock one; enum state two;
`;
const asked = [
  ...["tcp_sock.sk.common.saddr", "sock_common.v6", "tcp_sock.sk.refs[2][1].counter", "tcp_sock.tail[9]"],
  ...["sizeof:tcp_sock", "sizeof:atomic_t", "enum:CLOSED", "enum:WIDE", "nothing.here"],
].flatMap((text) => askedOf(text) ?? []);
const families = { tcpv4: true, tcpv6: true, udpv4: true, udpv6: true };
const question = { sources: ["dwarf"], families, asked, isOnlyAsked: true } as const;

/** Of two units, by each version of DWARF, and with packed sections. */
function forms(folder: string): readonly string[] {
  const [first, second] = [join(folder, "one.c"), join(folder, "two.c")];
  writeFileSync(first, `${source}void _start(void) { one.sk.refs[0][0].counter = 1; }\n`);
  writeFileSync(second, source.replace("one; enum state two", "three"));
  const built = (name: string, ...flags: string[]): string => {
    const path = join(folder, name);
    tool("gcc", "-nostdlib", "-static", "-no-pie", "-w", ...flags, "-o", path, first, second);
    return path;
  };
  const packed = built("packed", "-gdwarf-5");
  tool("objcopy", "--compress-debug-sections=zlib", packed);
  return [
    built("two", "-gdwarf-2"),
    built("four", "-gdwarf-4"),
    built("five", "-gdwarf-5", "-gdwarf64"),
    packed,
  ];
}

export const dwarf: Target = {
  name: "dwarf",
  what: "debug information: units, abbreviations, forms, types that lead to each other, compressed sections",
  share: 15,
  open: async (folder): Promise<Opened> => ({
    samples: forms(folder).map((path) => ({
      ...sampleOf(path),
      bytes: readFileSync(path),
      hot: sectionsOf(path)
        .filter(({ name }) => /^\.debug_(?:info|abbrev|str)$/.test(name))
        .map(({ offset, size }) => [offset, offset + size] as const),
    })),
    read: ({ bytes }: Input) => {
      using memory = memoryFile("input", bytes);
      using file = InputFile.of(memory.fd, inputName);
      imageDocument(kernelIn(file, soughtFor(question)), question);
      return true;
    },
  }),
};
