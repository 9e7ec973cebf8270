import { afterAll, beforeAll, expect, test } from "bun:test";
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import fc from "fast-check";
import type { NewType } from "../../../src/btf/btf.ts";
import { Btf } from "../../../src/btf/btf.ts";
import type { CoreQuestion } from "../../../src/btf/core-question.ts";
import { btfOf } from "../../../src/btf/encode.ts";
import { minimalTypes } from "../../../src/btf/minimal.ts";
import { essential } from "../../../src/btf/relocate.ts";
import { EbpfObject } from "../../../src/bytecode/object.ts";
import { type Against, askedBy } from "../../../src/bytecode/relocations.ts";
import { InputError } from "../../../src/input/input.ts";
import { buildCoreReader, type CoreReader, foreignObject } from "../../core/reader.ts";
import { dumpOf } from "../btf/random.ts";
import { fetchTimeout } from "../tls/debian.ts";

const KERNEL_BTF = "/sys/kernel/btf/vmlinux";
const LIBBPF = join(import.meta.dir, "../../../assets/lib/x64/libbpf.so");
const folder = mkdtempSync(join(tmpdir(), "offsetof-relocations-"));
afterAll(() => rmSync(folder, { recursive: true }));

/** Of Debian's libbpf-tools: flavours, arrays, anonymous members, bit-fields, and types and members that may not be there. */
const tools =
  "tcptracer opensnoop tcpstates biotop mountsnoop filelife execsnoop bindsnoop runqlat sigsnoop klockstat".split(
    " ",
  );
const names = [...tools, "reader", "asker", "misser"];
const objects = new Map<string, Uint8Array<ArrayBuffer>>();
let core: CoreReader;
let kernel: Against;
beforeAll(async () => {
  core = await buildCoreReader();
  for (const name of tools) objects.set(name, await foreignObject(name));
  objects.set("reader", new Uint8Array(readFileSync(core.object)));
  objects.set("asker", new Uint8Array(readFileSync(core.asker)));
  objects.set("misser", new Uint8Array(readFileSync(core.misser)));
  const btf = new Btf(readFileSync(KERNEL_BTF), { path: KERNEL_BTF });
  kernel = { btf, isMade: false, partial: new Set(), reason: () => undefined };
}, fetchTimeout);

const objectOf = (name: string) => new EbpfObject(objects.get(name) ?? new Uint8Array(), name);
const fileOf = (name: string): string => {
  const file = join(folder, `${name}.o`);
  writeFileSync(file, objects.get(name) ?? "");
  return file;
};

/** As libbpf calls what a relocation asks for. */
const kinds: Readonly<Record<CoreQuestion, string>> = {
  offset: "byte_off",
  size: "byte_sz",
  exists: "field_exists",
  signed: "signed",
  "left shift": "lshift_u64",
  "right shift": "rshift_u64",
  "local type id": "local_type_id",
  "type id": "target_type_id",
  "type exists": "type_exists",
  "type size": "type_size",
  "value exists": "enumval_exists",
  value: "enumval_value",
  "type matches": "type_matches",
};

test.each(names)("%s: each relocation finds the kernel's type and the place that libbpf finds", (name) => {
  const { stderr } = Bun.spawnSync([core.loader, LIBBPF, fileOf(name), KERNEL_BTF], {
    env: { LIBBPF_LOG_LEVEL: "debug" },
  });
  const lines = stderr.toString().split("\n");
  const said = lines.flatMap((line) => {
    const match = / matching candidate #0 <(\w+)> \[(\d+)\] .*?(?:@ offset ([\d.]+)\))?$/.exec(line);
    return match === null ? [] : [`${match[1]} ${match[2]} ${match[3] ?? 0}`];
  });
  const { functions, found } = askedBy(objectOf(name), kernel, name);
  const ours = found.map(({ question, found: { root, bitOffset } }) => {
    const [byte, bit] = [Math.floor(bitOffset / 8), bitOffset % 8];
    return `${kinds[question]} ${root} ${byte}${bit === 0 ? "" : `.${bit}`}`;
  });
  expect(said.length).toBeGreaterThan(0);
  expect(ours.sort()).toEqual(said.sort());
  const unfound = lines.filter((line) => line.endsWith("no matching targets found")).length;
  const relocations = functions.reduce((sum, one) => sum + one.relocations, 0);
  expect(relocations - ours.length).toBe(unfound);
});

test.each(names)("%s: the types it needs of the kernel's BTF are those that bpftool keeps", (name) => {
  const [theirs, ours] = [join(folder, "theirs.btf"), join(folder, "ours.btf")];
  const made = Bun.spawnSync(["bpftool", "gen", "min_core_btf", KERNEL_BTF, theirs, fileOf(name)]);
  expect(made.stderr.toString()).toBe("");
  const { found } = askedBy(objectOf(name), kernel, name);
  const bytes = btfOf(minimalTypes(kernel.btf, found));
  writeFileSync(ours, bytes);
  expect(dumpOf(ours)).toEqual(dumpOf(theirs));
  // Every relocation comes to the same with these types alone.
  const alone = { ...kernel, btf: new Btf(bytes, { path: ours }) };
  const again = askedBy(objectOf(name), alone, name).found.map(({ found: { bitOffset } }) => bitOffset);
  expect(again).toEqual(found.map(({ found: { bitOffset } }) => bitOffset));
});

test("a type that a loader compares whole is kept whole", () => {
  const [root = 0] = kernel.btf.named("iphdr", [4]);
  const found = { root, members: [], elements: [], bitOffset: 0, type: root };
  const kept = (question: CoreQuestion) => {
    const types = minimalTypes(kernel.btf, [{ question, found }]);
    return types.flatMap((type) => (type.kind === "struct" ? type.members.map(({ name }) => name) : []));
  };
  expect(kept("type exists")).toEqual([]);
  expect(kept("type matches")).toEqual(expect.arrayContaining(["ihl", "version", "tos", "saddr", "daddr"]));
});

test("a member that a program asks for only where there is one is not missing", () => {
  const { functions } = askedBy(objectOf("biotop"), kernel, "biotop");
  expect(functions.flatMap(({ missing }) => missing)).toEqual([]);
  expect(functions.flatMap(({ absent }) => absent)).toContainEqual({
    what: "request___x.rq_disk",
    question: "offset",
    reason: "request has no member rq_disk; it is none of what offsetof tells",
  });
});

test("a member that it reads without asking is missing, and a type's number too where the BTF is made", () => {
  const missing = (name: string, isMade: boolean) =>
    askedBy(objectOf(name), { ...kernel, isMade }, name).functions.flatMap((one) => one.missing);
  const member = { what: "sock_common___x.no_such_member", question: "offset" } as const;
  expect(missing("misser", false)).toMatchObject([member]);
  expect(missing("asker", false)).toEqual([]);
  expect(missing("asker", true)).toMatchObject([{ what: "iphdr", question: "type id" }]);
});

test("each function of a section is told for itself", () => {
  const { functions } = askedBy(objectOf("misser"), kernel, "misser");
  const told = functions.map(({ name, relocations, missing }) => [name, relocations, missing.length]);
  expect(told).toEqual([
    ["misses", 2, 1],
    ["reads", 1, 0],
  ]);
});

test("what types of one name have at different places is refused, as libbpf refuses it", () => {
  const struct = (bitOffset: number) =>
    ({
      kind: "struct",
      name: "sock_common",
      size: 16,
      members: [{ name: "skc_family", type: 1, bitOffset, bitSize: null }],
    }) as const;
  const int = { kind: "int", name: "short unsigned int", size: 2, encoding: 0 } as const;
  const answer = (...types: NewType[]) => {
    const btf = new Btf(btfOf([int, ...types]), { path: "made" });
    const { functions } = askedBy(objectOf("misser"), { ...kernel, btf }, "misser");
    return functions.find(({ name }) => name === "reads")?.missing[0]?.reason;
  };
  expect(answer(struct(0), struct(0))).toBeUndefined();
  expect(answer(struct(0), struct(16))).toStartWith(
    "2 types are called sock_common, and have it at different places",
  );
});

test("the size of a struct that ends behind its last known member is not told", () => {
  const partial = new Set(["iphdr"]);
  const { functions } = askedBy(objectOf("asker"), { ...kernel, partial }, "asker");
  const [one] = functions.flatMap(({ missing }) => missing);
  expect(one).toEqual({ what: "iphdr", question: "type size", reason: "the size of iphdr is not known" });
});

test("what changes a byte of an object is read, or refused with its file and offset", () => {
  const bytes = objects.get("opensnoop") ?? new Uint8Array();
  const object = objectOf("opensnoop");
  const sections = [".BTF", ".BTF.ext"].flatMap((name) => object.section(name) ?? []);
  expect(sections.length).toBe(2);
  const places = sections.flatMap(({ bytes: { length }, at }) => [at, at + length] as const);
  const place = fc.oneof(
    fc.integer({ min: places[0] ?? 0, max: (places[1] ?? 1) - 1 }),
    fc.integer({ min: places[2] ?? 0, max: (places[3] ?? 1) - 1 }),
  );
  let refused = 0;
  fc.assert(
    fc.property(
      fc.array(fc.tuple(place, fc.integer({ min: 0, max: 255 })), { minLength: 1, maxLength: 8 }),
      (changes) => {
        const changed = new Uint8Array(bytes);
        for (const [at, value] of changes) changed[at] = value;
        try {
          askedBy(new EbpfObject(changed, "changed.o"), kernel, "changed.o");
        } catch (error) {
          expect(error).toBeInstanceOf(InputError);
          expect((error as InputError).message).toStartWith("changed.o: ");
          refused++;
        }
      },
    ),
    { numRuns: 300 },
  );
  expect(refused).toBeGreaterThan(10);
});

test.each([
  ["task_struct___x", "task_struct"],
  ["task_struct", "task_struct"],
  ["a___b___c", "a___b"],
  ["a____b", "a____b"],
  ["___a", "___a"],
  ["a___", "a___"],
])("%s without its flavour is %s", (name, expected) => expect(essential(name)).toBe(expected));
