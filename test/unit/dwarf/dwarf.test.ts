import { afterAll, beforeAll, describe, expect, test } from "bun:test";
import { readFileSync, writeFileSync } from "node:fs";
import { readImage } from "../../../src/image/readers.ts";
import { InputFile } from "../../../src/input/input.ts";
import { askedOf } from "../../../src/kernel/asked.ts";
import { asFailure } from "../../../src/output/failure.ts";
import { Scratch } from "../../e2e/executable.ts";
import { tool } from "../../images.ts";

/** What kernels' structs have, in small. */
const structs = `
typedef unsigned long long u64;
typedef struct { int counter; } atomic_t;
enum state { CLOSED = 7, OPEN = -3, LISTEN };
enum wide { WIDE = 0x1fffffffffffffLL, WIDEST = 0xffffffffffffffffULL };
union flag { char whole; struct { unsigned char low : 3, high : 5; }; };
struct ops;
struct list { struct list *next, **pprev; };
struct sock_common {
  union { u64 pair; struct { unsigned daddr, rcv_saddr; }; };
  volatile unsigned char skc_state;
  unsigned char reuse : 4, reuseport : 1, ipv6only : 1;
  const struct ops *skc_prot;
  u64 a : 40, b : 20, c : 4;
};
struct sock {
  struct sock_common common;
  atomic_t refs;
  enum state sk_state;
  struct { int x; struct list nodes[4]; } queues[3][5];
  void (*ready)(struct sock *);
  union flag flag;
  __int128 huge;
  long double precise;
  char name[];
};
typedef struct { short pad; struct sock *const *restrict table; } table_t;
struct __attribute__((packed)) tight { char c; u64 value; unsigned odd : 7; long even : 30; };
`;
const offsets = [
  ...["sock_common.skc_state", "sock_common.skc_prot", "sock_common.rcv_saddr", "sock_common.pair"],
  ...["sock.common.daddr", "sock.refs.counter", "sock.sk_state", "sock.queues[2][3].nodes[1].pprev"],
  ...["sock.queues[2]", "sock.ready", "sock.flag", "sock.huge", "sock.precise", "sock.name", "sock.name[4]"],
  ...["table_t.table", "tight.value", "list.pprev"],
] as const;
const bitFields = [
  ...["sock_common.reuse", "sock_common.reuseport", "sock_common.ipv6only", "sock_common.a", "sock_common.b"],
  ...["sock_common.c", "sock.common.c", "flag.low", "flag.high", "tight.odd", "tight.even"],
] as const;
const sizes = ["sock", "sock_common", "table_t", "atomic_t", "state", "wide", "tight", "u64"] as const;
const values = ["CLOSED", "WIDE"] as const;
const plain = new Set(["table_t", "atomic_t", "u64"]);
const typeOf = (name: string): string =>
  plain.has(name) ? name : `${{ flag: "union", state: "enum", wide: "enum" }[name] ?? "struct"} ${name}`;
const keyOf = (text: string): string => askedOf(text)?.constant ?? "";
const split = (text: string): [type: string, member: string] => {
  const at = text.indexOf(".");
  return [typeOf(text.slice(0, at)), text.slice(at + 1)];
};

let scratch: Scratch;
let truth: Record<string, number>;
beforeAll(() => {
  scratch = new Scratch();
  truth = compiled();
});
afterAll(() => scratch[Symbol.dispose]());

/** What the compiler says: of bit-fields by the bits that are set where one is full of ones. */
function compiled(): Record<string, number> {
  const source = scratch.at("truth.c");
  const rows = [
    ...offsets.map((text) => `tell("${keyOf(text)}", __builtin_offsetof(${split(text).join(", ")}));`),
    ...sizes.map((name) => `tell("${keyOf(`sizeof:${name}`)}", sizeof(${typeOf(name)}));`),
    ...values.map((name) => `tell("${keyOf(`enum:${name}`)}", ${name});`),
    ...bitFields.map((text) => {
      const [type, member] = split(text);
      return `{ ${type} one; memset(&one, 0, sizeof(one)); one.${member} = -1; bits("${keyOf(text)}", &one, sizeof(one)); }`;
    }),
  ];
  writeFileSync(
    source,
    `${structs}
#include <stdio.h>
#include <string.h>
static void tell(const char *name, long value) { printf("%s %ld\\n", name, value); }
static void bits(const char *name, void *of, long size) {
  long first = -1, count = 0;
  for (long bit = 0; bit < size * 8; bit++)
    if (((unsigned char *)of)[bit / 8] >> bit % 8 & 1) { if (first < 0) first = bit; count++; }
  printf("%s %ld\\n%s_bit_offset %ld\\n%s_bit_size %ld\\n", name, first / 8, name, first % 8, name, count);
}
int main(void) { ${rows.join("\n")} }
`,
  );
  tool("gcc", "-w", "-o", scratch.at("truth"), source);
  return Object.fromEntries(
    tool(scratch.at("truth"))
      .trim()
      .split("\n")
      .map((line) => line.split(" "))
      .map(([name = "", value]) => [name, Number(value)]),
  );
}

const main = `${structs}
const char banner[] = "Linux version 6.1.99-dwarf (me@here) (gcc 12) #1 SMP Debian 6.1.99-1 (2026-01-01)\\n";
struct sock one; table_t two; struct tight three; enum wide four;
struct differs { int a, b; }; struct differs five;
int other(void);
void _start(void) { struct local { int l; } own = { other() }; one.refs.counter = own.l; }
`;
/** Its structs are those of the first, but one; and one of them is not told here. */
const second = `${structs}
struct sock again; table_t more; struct hidden *unknown;
struct differs { long a; int b; }; struct differs sixth;
int other(void) { return again.refs.counter; }
`;
const link = ["-nostdlib", "-static", "-no-pie", "-Wl,--build-id=sha1", "-w"];

function built(name: string, ...flags: string[]): string {
  const [one, two, path] = [scratch.at("one.c"), scratch.at("two.c"), scratch.at(name)];
  writeFileSync(one, main);
  writeFileSync(two, second);
  tool("gcc", ...link, ...flags, "-o", path, one, two);
  return path;
}

const families = { tcpv4: true, tcpv6: true, udpv4: true, udpv6: true };
function told(
  path: string,
  texts: readonly string[],
  sources: readonly ("btf" | "dwarf")[] = ["btf", "dwarf"],
) {
  using file = InputFile.open(path);
  const asked = texts.flatMap((text) => askedOf(text) ?? []);
  return readImage(file, { sources, families, asked, isOnlyAsked: true });
}
const everything = [
  ...offsets,
  ...bitFields,
  ...sizes.map((name) => `sizeof:${name}`),
  ...values.map((name) => `enum:${name}`),
];

describe("DWARF says what the compiler said", () => {
  test.each([
    ["DWARF 2", ["-gdwarf-2", "-gstrict-dwarf"], []],
    ["DWARF 3", ["-gdwarf-3"], []],
    ["DWARF 4", ["-gdwarf-4"], []],
    ["DWARF 5", ["-gdwarf-5"], []],
    ["DWARF 5 of 64 bits, optimized", ["-gdwarf-5", "-gdwarf64", "-O2"], []],
    ["DWARF 4 with macros", ["-gdwarf-4", "-g3"], []],
    ["sections by zlib", ["-gdwarf-5"], ["--compress-debug-sections=zlib"]],
    ["sections by zstd", ["-gdwarf-4"], ["--compress-debug-sections=zstd"]],
    ["a file with debug information alone", ["-gdwarf-5"], ["--only-keep-debug"]],
  ] as const)("%s", (name, flags, change) => {
    const path = built(name.replaceAll(" ", "-"), ...flags);
    if (change.length > 0) tool("objcopy", ...change, path);
    const { kernel, host } = told(path, everything);
    expect(kernel?.constants).toEqual(truth);
    expect(host.btf).toBe(false);
    for (const { status, evidence } of Object.values(kernel?.fields ?? {}))
      expect([status, Object.keys(evidence)]).toEqual(["single", ["dwarf"]]);
    if (change[0] !== "--only-keep-debug") expect(host.kernel.release).toBe("6.1.99-dwarf");
  });
});

test("what units tell otherwise, and what none tells, is null with the reason", () => {
  const path = built("odd", "-g");
  const asked = ["differs.b", "local.l", "hidden.a", "sock.nothing", "sizeof:differs", "sock.queues[2][5]"];
  const document = told(path, [...asked, "enum:WIDEST", "enum:LISTEN"]);
  expect(Object.values(document.kernel?.fields ?? {}).map(({ value, reason }) => [value, reason])).toEqual([
    [null, "dwarf: 2 types are called differs, and have it at different places"],
    [null, "dwarf: no struct or union local"],
    [null, "dwarf: no struct or union hidden"],
    [null, "dwarf: sock has no member nothing"],
    [null, "dwarf: types called differs have different sizes"],
    [null, "dwarf: sock.queues[2] has 5 elements"],
    [null, "dwarf: it is 18446744073709551615, which this document does not hold"],
    [null, "dwarf: it is -2, which this document does not hold"],
  ]);
});

test("BTF goes before DWARF, and each alone where it is named", () => {
  const path = built("both", "-g");
  tool("pahole", "-J", path);
  const sourceOf = (...sources: ("btf" | "dwarf")[]) =>
    Object.keys(told(path, ["tight.value"], sources).kernel?.fields.tight_value?.evidence ?? {});
  expect([sourceOf("btf", "dwarf"), sourceOf("dwarf"), sourceOf("btf")]).toEqual([
    ["btf"],
    ["dwarf"],
    ["btf"],
  ]);
});

test("a module, which is not linked, and a file without are refused", () => {
  const [one, object] = [scratch.at("one.c"), scratch.at("one.o")];
  writeFileSync(one, main);
  tool("gcc", "-w", "-g", "-c", "-o", object, one);
  const stripped = built("stripped", "-g", "-s");
  const codeOf = (path: string, ...sources: ("btf" | "dwarf")[]) => {
    try {
      return told(path, ["tight.value"], sources);
    } catch (error) {
      return asFailure(error).code;
    }
  };
  expect([codeOf(object, "btf", "dwarf"), codeOf(stripped, "dwarf")]).toEqual(["E_NO_BTF", "E_NO_BTF"]);
});

test("damaged debug information is an error that names the file and the offset, or a number that is not known", () => {
  const path = built("sound", "-gdwarf-5");
  const bytes = readFileSync(path);
  const sections = tool("readelf", "-SW", path);
  const of = (name: string): [offset: number, size: number] => {
    const [, offset = "", size = ""] =
      new RegExp(`${name} +PROGBITS +\\w+ (\\w+) (\\w+)`).exec(sections) ?? [];
    return [Number.parseInt(offset, 16), Number.parseInt(size, 16)];
  };
  const damaged = scratch.at("damaged");
  const outcome = (): string => {
    try {
      told(damaged, everything);
      return "told";
    } catch (error) {
      return asFailure(error).message;
    }
  };
  const messages = new Set<string>();
  for (const name of [".debug_info", ".debug_abbrev"]) {
    const [offset, size] = of(name);
    for (let at = 0; at < size; at += Math.ceil(size / 150))
      for (const byte of [0, 0x7f, 0xff]) {
        const copy = Buffer.from(bytes);
        copy[offset + at] = byte;
        writeFileSync(damaged, copy);
        messages.add(outcome());
      }
  }
  for (const message of messages)
    if (message !== "told") expect(message).toMatch(/^\/.*damaged: .* \(at offset 0x[0-9a-f]+\)$/);
  expect(messages.size).toBeGreaterThan(10);
});
