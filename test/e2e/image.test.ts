import { afterAll, beforeAll, describe, expect, test } from "bun:test";
import {
  copyFileSync,
  linkSync,
  mkdirSync,
  readFileSync,
  symlinkSync,
  truncateSync,
  writeFileSync,
} from "node:fs";
import * as v from "valibot";
import { diffSchema } from "../../src/output/diff-schema.ts";
import { type Document, documentSchema } from "../../src/output/document.ts";
import * as images from "../images.ts";
import { jsonOf } from "../schema.ts";
import { documentOf, errorOf, executable, run, Scratch } from "./executable.ts";

let scratch: Scratch;
let kernel: images.SmallKernel;
const arm64Id = "0123456789abcdef0123456789abcdef01234567";

beforeAll(() => {
  scratch = new Scratch();
  mkdirSync(scratch.at("small"));
  kernel = images.smallKernel(scratch.at("small"));
});
afterAll(() => scratch[Symbol.dispose]());

const ask = (...args: string[]) => run([executable, "kernel", "--format", "json", ...args]);
const linesOf = ({ stdout }: { stdout: string }): Document[] =>
  stdout
    .split("\n")
    .filter((line) => line !== "")
    .map((line) => v.parse(documentSchema, jsonOf("document", line)));
const errorsOf = ({ stderr }: { stderr: string }): unknown[] =>
  stderr
    .split("\n")
    .filter((line) => line !== "")
    .map((line) => jsonOf("error", line));

describe("a kernel that does not run here", () => {
  test("in every form that it may have says what the compiler said, in the order that they were named", () => {
    const packings = Object.keys(images.packers) as images.Packing[];
    const image = images.arm64Image(scratch.at("Image"), kernel, arm64Id);
    const xz = images.bzImage(scratch.at("vmlinuz.in"), kernel, "xz");
    const x64 = [
      kernel.vmlinux,
      ...packings.map((each) => images.bzImage(scratch.at(`vmlinuz-${each}`), kernel, each)),
      ...packings.map((each) =>
        images.written(scratch.at(`vmlinux.${each}`), images.packed(kernel.vmlinux, each)),
      ),
      ...["none", "gzip", "xz", "zstd"].map((each) =>
        images.debianPackage(scratch.at(`${each}.deb`), xz, "boot/vmlinuz-6.1.99-small", each),
      ),
      ...["w.ufdio", "w6.gzdio", "w6.xzdio", "w6.zstdio"].map((each) =>
        images.rpmPackage(scratch.at(`${each}.rpm`), xz, kernel, each),
      ),
    ];
    const arm64 = [image, ...packings.map((each) => images.zboot(scratch.at(`zboot-${each}`), image, each))];
    const raw = [kernel.btf];
    images.tool("tar", "-cJf", scratch.at("6.1.btf.tar.xz"), "-C", kernel.folder, "vmlinux.btf");
    raw.push(scratch.at("6.1.btf.tar.xz"));
    const all = [...x64, ...arm64, ...raw];
    const result = ask("--image", ...all, "--member", images.askedMembers);
    expect([result.stderr, result.status]).toEqual(["", 0]);
    const documents = linesOf(result);
    expect(documents.map((one) => one.kernel?.image?.path.split(":")[0])).toEqual(all);
    for (const [index, { host, tool, kernel: told }] of documents.entries()) {
      expect(told?.constants).toEqual(kernel.constants);
      for (const field of Object.values(told?.fields ?? {})) {
        expect([field.status, Object.keys(field.evidence)]).toEqual(["single", ["btf"]]);
      }
      const kind = x64.includes(all[index] ?? "")
        ? "x64"
        : arm64.includes(all[index] ?? "")
          ? "arm64"
          : "raw";
      const { release, version, distro } = host.kernel;
      const said = { arch: tool.arch, release, version, distro, buildId: told?.image?.build_id };
      const own = { release: kernel.release, version: [6, 1, 99], distro: "debian" };
      const expected = {
        x64: { arch: "x64", ...own, buildId: kernel.buildId },
        arm64: { arch: "arm64", ...own, buildId: arm64Id },
        raw: { arch: "unknown", release: "unknown", version: [0, 0, 0], distro: null, buildId: null },
      }[kind];
      expect(JSON.stringify(said)).toBe(JSON.stringify(expected));
    }
  });

  test("alone is a document like that of any run, in every format", () => {
    const only = ["--image", kernel.vmlinux, "--member", "tcp_sock.srtt_us"];
    expect(documentOf(ask(...only)).kernel?.image).toEqual({
      path: kernel.vmlinux,
      build_id: kernel.buildId,
    });
    const at = kernel.constants.tcp_sock_srtt_us;
    const get = run([executable, "kernel", "--image", kernel.vmlinux, "--get", "tcp_sock.srtt_us"]);
    expect([get.stdout, get.status]).toEqual([`${at}\n`, 0]);
    const env = run([executable, "kernel", ...only, "--format", "env"]);
    expect(env.stdout.split("\n")).toContain(`TCP_SOCK_SRTT_US=${at}`);
    // It has none of the others.
    const whole = ask("--image", kernel.vmlinux);
    expect(whole.status).toBe(3);
    expect(documentOf(whole).kernel?.fields.offset_socket_sk).toMatchObject({
      value: null,
      reason: "btf: the kernel's BTF has no socket.sk: no struct or union socket",
    });
  });

  test("in an unpacked root is found inside it, and no link leads out of it", () => {
    const root = scratch.at("root");
    for (const folder of ["boot", "usr/lib/modules/6.1.99-small", "etc"])
      mkdirSync(`${root}/${folder}`, { recursive: true });
    symlinkSync("usr/lib", `${root}/lib`);
    images.bzImage(`${root}/boot/vmlinuz-6.1.99-small`, kernel, "gz");
    writeFileSync(`${root}/boot/initrd.img-6.1.99-small`, images.packed(`${kernel.folder}/kernel.c`, "gz"));
    writeFileSync(`${root}/boot/config-6.1.99-small`, "CONFIG_BTF=y\n");
    symlinkSync("vmlinuz-6.1.99-small", `${root}/boot/vmlinuz`);
    symlinkSync("/boot/vmlinuz-6.1.99-small", `${root}/vmlinuz`);
    symlinkSync(kernel.vmlinux, `${root}/boot/vmlinux-outside`);
    copyFileSync(kernel.vmlinux, `${root}/usr/lib/modules/6.1.99-small/vmlinux`);
    linkSync(`${root}/boot/vmlinuz-6.1.99-small`, `${root}/usr/lib/modules/6.1.99-small/vmlinuz`);
    const result = ask("--image", root, "--member", images.askedMembers);
    expect([result.stderr, result.status]).toEqual(["", 0]);
    expect(linesOf(result).map((one) => one.kernel?.image?.path)).toEqual([
      `${root}/boot/vmlinuz-6.1.99-small`,
      `${root}/usr/lib/modules/6.1.99-small/vmlinux`,
    ]);
    // The same kernels as a folder.
    const boot = ask("--image", `${root}/boot`, "--member", images.askedMembers);
    expect(linesOf(boot).map((one) => one.kernel?.image?.path)).toEqual([
      `${root}/boot/vmlinuz-6.1.99-small`,
    ]);
    const none = ask("--image", `${root}/etc`);
    expect([none.status, none.stdout, errorOf(none)]).toEqual([
      1,
      "",
      { code: "E_NO_KERNEL", message: `no kernel in ${root}/etc` },
    ]);
  });

  test("without BTF is told by its debug information, beside others and packed too", () => {
    const [debug, archive] = [scratch.at("debug"), scratch.at("debug.deb")];
    images.tool(
      "objcopy",
      "--remove-section",
      ".BTF",
      "--compress-debug-sections=zlib",
      kernel.vmlinux,
      debug,
    );
    images.debianPackage(archive, debug, "boot/vmlinux-6.1.99-small", "xz");
    const result = ask("--image", debug, archive, "--member", images.askedMembers);
    expect([result.stderr, result.status]).toEqual(["", 0]);
    for (const { host, kernel: told } of linesOf(result)) {
      expect(told?.constants).toEqual(kernel.constants);
      expect(told?.fields.tcp_sock_srtt_us?.evidence).toEqual({
        dwarf: [kernel.constants.tcp_sock_srtt_us ?? -1],
      });
      expect([host.btf, host.kernel.release]).toEqual([false, kernel.release]);
    }
    const none = run([executable, "kernel", "--image", debug, "--source", "btf", "--format", "json"]);
    expect([none.status, errorOf(none).code]).toEqual([4, "E_NO_BTF"]);
  });

  test("without BTF says so, and which kernel it is; beside others it costs them nothing", () => {
    const bare = scratch.at("bare");
    images.tool("objcopy", "--strip-debug", "--remove-section", ".BTF", kernel.vmlinux, bare);
    const alone = ask("--image", bare);
    expect([alone.status, alone.stdout]).toEqual([4, ""]);
    expect(errorOf(alone)).toEqual({
      code: "E_NO_BTF",
      message: `${bare}: kernel 6.1.99-small has no BTF: it was built without CONFIG_DEBUG_INFO_BTF; run offsetof on a machine that runs it`,
    });
    const two = ask("--image", bare, kernel.vmlinux, scratch.at("missing"), "--member", "tcp_sock.srtt_us");
    expect(two.status).toBe(3);
    expect(linesOf(two).map((one) => one.kernel?.image?.path)).toEqual([kernel.vmlinux]);
    expect(
      errorsOf(two)
        .map((error) => v.parse(v.object({ code: v.string() }), error).code)
        .sort(),
    ).toEqual(["E_FILE", "E_NO_BTF"]);
  });
});

describe("a damaged image names file and offset", () => {
  const damaged = (name: string, make: (path: string) => unknown, message: RegExp) =>
    [name, make, message] as const;
  test.each([
    damaged(
      "cut",
      (path) => {
        images.bzImage(path, kernel, "xz");
        truncateSync(path, 2000);
      },
      /: a kernel of \d+ bytes beyond the end of 2000 \(at offset 0x410\)$/,
    ),
    damaged(
      "flipped",
      (path) => {
        const bytes = readFileSync(images.bzImage(path, kernel, "gz"));
        bytes.fill(0xff, 1100, 1200);
        writeFileSync(path, bytes);
      },
      /: gzip: damaged \(at offset 0x[0-9a-f]+\)$/,
    ),
    damaged(
      "cut.zst",
      (path) => {
        const bytes = images.packed(kernel.vmlinux, "zst");
        images.written(path, bytes.subarray(0, bytes.length / 2));
      },
      /: zstd: cut short \(at offset 0x[0-9a-f]+\)$/,
    ),
    damaged(
      "release",
      (path) => {
        const bytes = readFileSync(images.bzImage(path, kernel, "gz"));
        bytes.write("6.1.98-small (me@", 0x300);
        writeFileSync(path, bytes);
      },
      /: it says 6\.1\.98-small, and the kernel in it 6\.1\.99-small \(at offset 0x300\)$/,
    ),
    damaged(
      "window",
      // A frame of zstd that asks for a window of 2 GiB.
      (path) => images.written(path, Buffer.from("28b52ffd00a8", "hex"), Buffer.alloc(100)),
      /: zstd: it asks for more memory than kernels are packed with \(at offset 0x[0-9a-f]+\)$/,
    ),
    damaged(
      "deep",
      (path) => {
        writeFileSync(path, readFileSync(kernel.btf));
        for (let depth = 0; depth < 4; depth++) writeFileSync(path, images.packed(path, "gz"));
      },
      /: packed too deeply \(at offset 0x0\)$/,
    ),
    damaged(
      "btf",
      (path) => {
        const bytes = readFileSync(kernel.btf);
        bytes.writeUInt32LE(0xfffffff0, 20);
        writeFileSync(path, bytes);
      },
      /: BTF: strings beyond the end \(at offset 0x10\)$/,
    ),
    damaged(
      "passwd",
      (path) => writeFileSync(path, "root:x:0:0\n"),
      /: neither BTF nor a kernel of x86-64 or arm64, nor a package with one \(at offset 0x0\)$/,
    ),
    damaged("empty", (path) => writeFileSync(path, ""), /: neither BTF nor a kernel/),
    damaged(
      "other.deb",
      (path) => {
        images.debianPackage(path, kernel.btf, "boot/config-6.1.99-small", "xz");
      },
      /: a package without a kernel \(at offset 0x0\)$/,
    ),
    damaged("device", () => {}, /ENOENT|cannot be read/),
  ])("%s", (name, make, message) => {
    const path = scratch.at(`damaged-${name}`);
    make(path);
    const result = ask("--image", path);
    expect([result.status, result.stdout]).toEqual([1, ""]);
    const { message: told } = errorOf(result);
    expect(told).toMatch(message);
    expect(told).toStartWith(path);
  });

  test("what is not read in time says so, alone and beside another", () => {
    const alone = ask("--image", kernel.vmlinux, "--deadline", "1");
    expect([
      alone.status,
      alone.stdout,
      v.parse(v.object({ code: v.string() }), errorsOf(alone)[0]).code,
    ]).toEqual([1, "", "E_DEADLINE"]);
    const two = ask("--image", kernel.vmlinux, kernel.btf, "--deadline", "1");
    expect([two.status, two.stdout]).toEqual([1, ""]);
    expect(errorsOf(two)).toEqual(
      [kernel.vmlinux, kernel.btf].map((path) => ({
        code: "E_IMAGE",
        message: `${path}: not read within 1 ms and in the memory that there is; allow more with --deadline`,
      })),
    );
  });

  test("what is no regular file is not opened", () => {
    const result = ask("--image", "/dev/null");
    expect([result.status, errorOf(result)]).toEqual([
      1,
      { code: "E_IMAGE", message: "/dev/null: not a regular file (at offset 0x0)" },
    ]);
  });
});

test.each([
  [
    ["kernel", "--image", "a", "--constants", "b"],
    "--image and --constants are two sources: name one of them",
  ],
  [["kernel", "a"], 'unexpected argument "a"; files of kernels are named by --image FILE...'],
  [
    ["kernel", "--image", "a", "b", "--get", "offset_rtt"],
    "of several images --format json or table tells: --get, env and header are of one",
  ],
  [
    ["kernel", "--image", "a", "--source", "guess"],
    "nothing but its types tells of a kernel that does not run here: --source has to name btf or dwarf",
  ],
  [
    ["bytecode", "extract", "--image", "a", "--for", "/x", "-o", "c"],
    "--image is of a kernel: it takes --for kernel, and no library",
  ],
] as const)("%j is wrong usage", (args, message) => {
  const result = run([executable, ...args]);
  expect([result.status, result.stdout]).toEqual([2, ""]);
  expect(result.stderr).toContain(message.replaceAll('"', args.some((one) => one === "--get") ? '"' : '\\"'));
});

test("btf writes an image's own BTF, bytecode and diff take its constants", () => {
  const vmlinuz = images.bzImage(scratch.at("own"), kernel, "lz4");
  const out = scratch.at("own.btf");
  expect(run([executable, "btf", "--image", vmlinuz, "-o", out])).toMatchObject({ status: 0, stderr: "" });
  expect(readFileSync(out)).toEqual(readFileSync(kernel.btf));
  const here = "/sys/kernel/btf/vmlinux";
  const object = scratch.at("reader.o");
  const baked = run([
    executable,
    "bytecode",
    "extract",
    "socket_reader",
    "--image",
    here,
    "-o",
    object,
    "--format",
    "json",
  ]);
  const { kernel: own } = documentOf(run([executable, "kernel", "--source", "btf", "--format", "json"]));
  expect(baked.status).toBe(0);
  for (const [name, value] of Object.entries(
    v.parse(v.object({ constants: v.record(v.string(), v.nullable(v.number())) }), JSON.parse(baked.stdout))
      .constants,
  ))
    expect([name, value]).toEqual([name, own?.constants[name] ?? null]);
  mkdirSync(scratch.at("next"));
  const diff = run([executable, "diff", vmlinuz, here, "--format", "json"]);
  expect(diff.status).toBe(3);
  expect(v.parse(diffSchema, jsonOf("diff", diff.stdout)).diff.kernel?.constants.offset_rtt).toMatchObject({
    change: "moved",
    from: kernel.constants.tcp_sock_srtt_us,
    to: own?.constants.offset_rtt,
  });
});
