import { beforeAll, describe, expect, test } from "bun:test";
import { existsSync, readFileSync, statSync, writeFileSync } from "node:fs";
import { release } from "node:os";
import { basename, join } from "node:path";
import type { Places, Relocations } from "../../src/output/btf-schema.ts";
import {
  buildCoreReader,
  type CoreReader,
  foreignObject,
  foreignObjects,
  judged,
  readsTruth,
} from "../core/reader.ts";
import { layoutsOf, tracedDiffers } from "../lab/layouts.ts";
import { jsonOf } from "../schema.ts";
import { dumpOf } from "../unit/btf/random.ts";
import { fetchTimeout } from "../unit/tls/debian.ts";
import { errorOf, executable, repository, run, Scratch } from "./executable.ts";

/** The commands after it find no BTF of the kernel, in a mount namespace of their own. */
const hidden = (script: string) => [
  "unshare",
  "--mount",
  "sh",
  "-c",
  `mount -t tmpfs none /sys/kernel/btf && ${script}`,
];

describe("a CO-RE program of libbpf's", () => {
  let core: CoreReader;
  beforeAll(async () => {
    core = await buildCoreReader();
    await foreignObject("tcpconnect");
  }, fetchTimeout);
  const load = (object = core.object) =>
    `${core.loader} ${join(repository, "assets/lib/x64/libbpf.so")} ${object}`;

  test.each(["tcpconnect", "tcptop", "tcptracer"])(
    "of others, Debian's %s, loads with ours too",
    async (name) => {
      using scratch = new Scratch();
      const [file, object] = [scratch.at("kernel.btf"), scratch.at("tool.bpf.o")];
      writeFileSync(object, await foreignObject(name));
      run([executable, "btf", "-o", file]);
      expect(run(hidden(load(object))).status).toBe(2);
      expect(run(hidden(`${load(object)} ${file}`))).toMatchObject({ status: 0 });
    },
  );

  test("does not load without BTF, and with ours loads and reads the truth", () => {
    using scratch = new Scratch();
    const file = scratch.at("kernel.btf");
    run([executable, "btf", "-o", file]); // here with the kernel's: without kprobes nf_conn cannot be guessed
    const without = run(hidden(load()));
    expect(without).toMatchObject({ status: 2, stdout: "" });
    expect(without.stderr).toContain("failed to find valid kernel BTF");
    readsTruth(run(hidden(`${load()} ${file}`)).stdout);
  });

  test("reads the truth by the types that it needs of a kernel's image, which were taken before that kernel ran", () => {
    using scratch = new Scratch();
    const minimal = scratch.at("minimal.btf");
    const image = ["--image", "/sys/kernel/btf/vmlinux"];
    const made = run([executable, "btf", ...image, "--for", core.object, "--minimal", "-o", minimal]);
    expect(made).toMatchObject({ status: 0, stderr: "" });
    expect(statSync(minimal).size).toBeLessThan(20_000);
    readsTruth(run(hidden(`${load()} ${minimal}`)).stdout);
    const told = run([executable, "btf", ...image, "--for", core.asker, core.misser, "--format", "json"]);
    expect(told.status).toBe(3);
    const { objects } = jsonOf("btf-for", told.stdout) as Relocations;
    // The numbers of its types are the kernel's own.
    expect(objects.flatMap(({ functions }) => functions.flatMap((one) => one.missing))).toEqual([
      expect.objectContaining({ reason: "sock_common has no member no_such_member" }),
    ]);
  });

  test("that asks for a member which is not known is refused, not misled", () => {
    using scratch = new Scratch();
    const file = scratch.at("kernel.btf");
    expect(run([executable, "btf", "--collect-tcpv6", "false", "--source", "guess", "-o", file]).status).toBe(
      3,
    );
    const { status, stderr } = run(hidden(`${load()} ${file}`));
    expect(status).toBe(2);
    expect(stderr).toMatch(/failed to resolve CO-RE relocation .*skc_v6_/);
  });
});

describe("which programs of an object relocate", () => {
  let core: CoreReader;
  let tools: ReadonlyMap<string, Uint8Array>;
  beforeAll(async () => {
    core = await buildCoreReader();
    tools = await foreignObjects("amd64");
  }, fetchTimeout);
  const libbpf = join(repository, "assets/lib/x64/libbpf.so");
  const load = (object: string, file: string) => run(hidden(`${core.loader} ${libbpf} ${object} ${file}`));

  test("is told as libbpf has it, of each of Debian's libbpf-tools", () => {
    using scratch = new Scratch();
    const file = scratch.at("kernel.btf");
    run([executable, "btf", "-o", file]);
    for (const [name, object] of tools) writeFileSync(scratch.at(name), object);
    const objects = [...tools.keys()].map((name) => scratch.at(name));
    const { status, stdout } = run([executable, "btf", "--for", ...objects, "--format", "json"]);
    expect(status).toBe(3);
    const told = jsonOf("btf-for", stdout) as Relocations;
    const ours = told.objects.map(({ path, functions }) => ({
      name: basename(path),
      loads: functions.every((one) => one.needs_kernel_btf || one.relocates),
    }));
    const judge = run(hidden(`${core.judges.amd64} ${libbpf} ${file} ${objects.join(" ")}`));
    const theirs = [...judged(judge.stdout)].map(([name, { isLoaded }]) => ({ name, loads: isLoaded }));
    expect(theirs.length).toBe(52);
    // It reads struct request where the tool's options ask for it: in its own .rodata none does.
    const byOptions = { name: "biolatency", loads: true };
    expect(theirs).toContainEqual(byOptions);
    expect(ours).toEqual(
      theirs.map((one) => (Bun.deepEquals(one, byOptions) ? { ...one, loads: false } : one)),
    );
  });

  test("UAPI structs and types that may not be there serve: eCapture's shape loads, also by the types it needs alone", () => {
    using scratch = new Scratch();
    const [file, minimal, elf] = ["whole", "minimal", "elf"].map((name) => scratch.at(`${name}.btf`)) as [
      string,
      string,
      string,
    ];
    run([executable, "btf", "-o", file]);
    expect(load(core.asker, file)).toMatchObject({ status: 0 });
    const kept = run([executable, "btf", "--for", core.asker, "--minimal", "-o", minimal]);
    expect(kept.status).toBe(3); // a type's number, which only the kernel's own BTF has
    expect(kept.stderr).toContain("asks asks for iphdr (type id): only the kernel's own BTF has the number");
    expect(load(core.asker, minimal)).toMatchObject({ status: 0 });
    expect(statSync(minimal).size).toBeLessThan(statSync(file).size / 2);
    expect(run(["bpftool", "btf", "dump", "file", minimal]).stdout).not.toContain("sock_common");
    const shape = ["btf", "--for", core.asker, "--minimal", "--elf", "-o"];
    for (const name of [elf, `${elf}.again`]) run([executable, ...shape, name]);
    expect(readFileSync(elf)).toEqual(readFileSync(`${elf}.again`));
    const read = run(["readelf", "--sections", "--symbols", "--wide", elf]);
    expect(read).toMatchObject({ status: 0, stderr: "" });
    expect(read.stdout).toMatch(/\.BTF +PROGBITS/);
    expect(read.stdout).toContain("Symbol table '.symtab' contains 1 entry"); // cilium/ebpf wants one
    expect(run(["bpftool", "btf", "dump", "file", elf]).stdout).toEqual(
      run(["bpftool", "btf", "dump", "file", minimal]).stdout,
    );
    expect(load(core.asker, elf)).toMatchObject({ status: 0 });
  });

  test("of the shape of eCapture's OpenSSL and BoringSSL objects relocates and loads, alone and with --minimal", () => {
    using scratch = new Scratch();
    const [file, minimal] = [scratch.at("kernel.btf"), scratch.at("minimal.btf")];
    run([executable, "btf", "-o", file]);
    expect(load(core.capture, file)).toMatchObject({ status: 0 });
    expect(run([executable, "btf", "--for", core.capture, "--minimal", "-o", minimal])).toMatchObject({
      status: 0,
    });
    expect(load(core.capture, minimal)).toMatchObject({ status: 0 });
  });

  test("a member that is not known is named with the reason of its constant", () => {
    const unknown = ["--source", "guess", "--collect-tcpv6", "false"];
    const { status, stdout } = run([executable, "btf", "--for", core.object, "--format", "json", ...unknown]);
    expect(status).toBe(3);
    const { objects } = jsonOf("btf-for", stdout) as Relocations;
    const missing = objects.flatMap(({ functions }) => functions.flatMap((one) => one.missing));
    expect(missing).toContainEqual({
      what: expect.stringContaining("skc_v6_daddr"),
      question: "offset",
      reason: expect.stringMatching(/^sock_common\.skc_v6_daddr is not known: guess: /),
    });
    const table = run([executable, "btf", "--for", core.misser, "--format", "table"]);
    expect(table.status).toBe(3);
    expect(table.stdout).toMatch(/misses +raw_tp\/sys_exit +2 +misses/);
    expect(table.stdout).toContain(
      "sock_common___x.no_such_member (offset): sock_common has no member no_such_member",
    );
  });
});

test("where loaders look is told, and nothing is written", () => {
  const { status, stdout, stderr } = run([executable, "btf", "--install", "--format", "json"]);
  expect({ status, stderr }).toEqual({ status: 0, stderr: "" });
  const told = jsonOf("btf-install", stdout) as Places;
  const file = `/boot/vmlinux-${release()}`;
  expect(told.places).toContainEqual(
    expect.objectContaining({ file, format: "elf", command: `offsetof btf --elf -o ${file}` }),
  );
  expect(existsSync(file)).toBe(false);
});

test("the file is the same every time, with the kernel's BTF and without", () => {
  using scratch = new Scratch();
  const files = ["a", "b"].map((name) => scratch.at(name));
  for (const file of files) {
    expect(run([executable, "btf", "-o", file])).toEqual({ status: 0, stdout: "", stderr: "" });
  }
  const [first, second] = files.map((file) => readFileSync(file));
  expect(first).toEqual(second ?? Buffer.alloc(0));
  run(["sh", "-c", `${executable} btf --output=- | cat > ${scratch.at("piped")}`]);
  expect(readFileSync(scratch.at("piped"))).toEqual(first ?? Buffer.alloc(0));
});

describe("structs of tracepoints", () => {
  /** tracefs is there for the command alone. */
  const traced = (command: string) => [
    ...["unshare", "--mount", "sh", "-c"],
    `mount -t tracefs tracefs /sys/kernel/tracing && ${command}`,
  ];

  test("are as the kernel's own BTF has them, each of their members", () => {
    using scratch = new Scratch();
    const file = scratch.at("kernel.btf");
    expect(run(traced(`${executable} btf -o ${file}`))).toEqual({ status: 0, stdout: "", stderr: "" });
    const { wrong, compared } = tracedDiffers(file, "/sys/kernel/btf/vmlinux");
    expect(wrong).toEqual([]);
    expect(compared).toBeGreaterThan(3000);
  });

  test("serve tools that ask for no more, and are missing with the reason where tracefs is not mounted", async () => {
    using scratch = new Scratch();
    const tools = ["biopattern", "opensnoop", "sigsnoop", "statsnoop", "tcpstates"];
    const objects = tools.map((name) => scratch.at(name));
    for (const name of tools) writeFileSync(scratch.at(name), await foreignObject(name));
    const ask = `${executable} btf --for ${objects.join(" ")} --format json`;
    const relocates = (stdout: string) =>
      (jsonOf("btf-for", stdout) as Relocations).objects.map((one) => [basename(one.path), one.relocates]);
    expect(relocates(run(traced(ask)).stdout)).toEqual(tools.map((name) => [name, true]));
    const { status, stdout } = run(["sh", "-c", ask]);
    expect(status).toBe(3);
    expect(stdout).toContain(
      "tracefs is not mounted where it can be read (mount -t tracefs tracefs /sys/kernel/tracing)",
    );
  });
});

/** Where a member begins: a struct inside ends with what is known of it. */
const startOf = (place: string | undefined): string | undefined => place?.split(" ")[0];

test("out of a document of an earlier run all types are the same, whichever kernel runs now", () => {
  using scratch = new Scratch();
  const [document, own, other] = ["kernel.json", "own.btf", "other.btf"].map((name) => scratch.at(name));
  run(["sh", "-c", `${executable} kernel --format json > ${document}`]);
  expect(run([executable, "btf", "-o", own ?? ""]).status).toBe(0);
  expect(run([executable, "btf", "--constants", document ?? "", "-o", other ?? ""]).status).toBe(0);
  const [measured, told] = [own, other].map((file) => layoutsOf(dumpOf(file ?? "")));
  expect(told?.size).toBeGreaterThan(40);
  // The document has constants alone; what is measured here has what the crawl finds, too, and so ends later.
  for (const [name, layout] of told ?? [])
    for (const [member, place] of [...layout].filter(([each]) => each !== "size"))
      expect([name, member, startOf(measured?.get(name)?.get(member))]).toEqual([
        name,
        member,
        startOf(place),
      ]);
});

test("what has no place in it is told with its reason, and the end is 3", () => {
  using scratch = new Scratch();
  const file = scratch.at("kernel.btf");
  const { status, stdout, stderr } = run([
    executable,
    "btf",
    "--source",
    "guess",
    "--collect-tcpv6",
    "false",
    "-o",
    file,
  ]);
  expect({ status, stdout }).toEqual({ status: 3, stdout: "" });
  expect(stderr).toMatch(/^\[warn\] not in the BTF: .*sock_common\.skc_v6_daddr.*: not known: guess: /m);
  expect(run(["bpftool", "btf", "dump", "file", file]).stdout).not.toContain("skc_v6_daddr");
});

test("a number that a document gives beside `absent` is not in it", () => {
  using scratch = new Scratch();
  const { stdout } = run([executable, "kernel", "--format", "json"]);
  const document = JSON.parse(stdout);
  document.kernel.fields.offset_saddr.status = "absent";
  writeFileSync(scratch.at("absent.json"), JSON.stringify(document));
  const ask = [executable, "btf", "--constants", scratch.at("absent.json"), "-o", scratch.at("kernel.btf")];
  const { status, stderr } = run(ask);
  expect(status).toBe(3);
  expect(stderr).toContain("not in the BTF: sock_common.skc_rcv_saddr: absent");
});

test("where nothing is known there is no file", () => {
  using scratch = new Scratch();
  const file = scratch.at("kernel.btf");
  const { status, stdout, stderr } = run([
    executable,
    "btf",
    "--source",
    "table",
    "-o",
    file,
    "--format",
    "table",
  ]);
  expect({ status, stdout }).toEqual({ status: 4, stdout: "" });
  expect(stderr).toContain("no constant is certain, so there is no BTF");
  expect(existsSync(file)).toBe(false);
});

test.each([
  [["btf"], 2, "btf needs -o FILE"],
  [["btf", "tool.o"], 2, 'unexpected argument "tool.o"; eBPF objects are named by --for OBJECT.o...'],
  [["btf", "--minimal", "-o", "x"], 2, "--minimal needs --for OBJECT.o"],
  [["btf", "--elf", "--for", "x.o"], 2, "--elf needs -o FILE"],
  [["btf", "--install", "-o", "x"], 2, "--install tells where loaders look"],
  [["btf", "--for", "/no/such/object.o"], 1, "/no/such/object.o cannot be read: ENOENT"],
  [["btf", "--for", "/bin/true"], 1, "/bin/true: not an eBPF object"],
  [["btf", "-o"], 2, "--output needs a value"],
  [["btf", "-o", "/no/such/folder/file"], 1, "/no/such/folder/file cannot be written: ENOENT"],
])("%p ends with %p", (args, expected, message) => {
  const result = run([executable, ...args]);
  expect(result).toMatchObject({ status: expected, stdout: "" });
  expect(errorOf(result).message).toContain(message);
});
