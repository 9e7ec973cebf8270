import { afterAll, beforeAll, describe, expect, test } from "bun:test";
import { existsSync, readdirSync, readFileSync, writeFileSync } from "node:fs";
import * as v from "valibot";
import { bakedSchema, bytecodeListSchema } from "../../src/output/bytecode-schema.ts";
import { failureSchema } from "../../src/output/failure.ts";
import { verifySchema } from "../../src/output/verify-schema.ts";
import { buildConfine } from "../confine.ts";
import { jsonOf } from "../schema.ts";
import { documentOf, executable, run, Scratch } from "./executable.ts";
import { heldDuring, stillThere } from "./held.ts";

const LIBSSL = "/usr/lib/x86_64-linux-gnu/libssl.so.3";
let scratch: Scratch;
let document: string;
beforeAll(() => {
  scratch = new Scratch();
  document = scratch.at("document.json");
  // Of one library: others on the machine come and go.
  const [kernel, tls] = [["kernel"], ["tls", LIBSSL]].map((command) =>
    documentOf(run([executable, ...command, "--format", "json"])),
  );
  writeFileSync(document, JSON.stringify({ ...kernel, tls: tls?.tls }, null, 2));
});
afterAll(() => scratch[Symbol.dispose]());

const offsetof = (...args: string[]) => run([executable, ...args]);
const bakedOf = (stdout: string) => v.parse(bakedSchema, jsonOf("baked", stdout));
/** Four bytes each of a section, as readelf prints them. */
function rodata(path: string): number[] {
  const { stdout } = run(["readelf", "--hex-dump=.rodata", path]);
  const hex = [...stdout.matchAll(/^ +0x\w+ ((?:\w{8} )+)/gm)].flatMap(([, words = ""]) =>
    words.trim().split(" "),
  );
  return hex.map((word) => Buffer.from(word, "hex").readUInt32LE());
}
const failureOf = ({ status, stdout, stderr }: ReturnType<typeof run>) => {
  expect(stdout).toBe("");
  return {
    status,
    ...v.parse(failureSchema, jsonOf("error", stderr.trim().split("\n").at(-1) ?? "")),
  };
};

test("list names every object with its programs and constants", () => {
  const { bytecode } = v.parse(
    bytecodeListSchema,
    jsonOf("bytecode-list", offsetof("bytecode", "list").stdout),
  );
  expect(bytecode.length).toBe(14);
  for (const { name, programs, constants } of bytecode) {
    expect(programs.length).toBeGreaterThan(5);
    const one = name.startsWith("tls_gnutls")
      ? "SECURITY_PARAMETERS_ST_PVERSION"
      : name.startsWith("tls_")
        ? "BIO_ST_NUM"
        : "offset_rtt";
    expect(constants).toContain(one);
  }
  expect(offsetof("bytecode", "list", "--format", "table").stdout).toMatch(/^NAME +FOR/);
});

describe("extract", () => {
  test("--for kernel: the socket reader with this kernel's constants, which bpftool loads", () => {
    const path = scratch.at("kernel.o");
    const result = offsetof("bytecode", "extract", "--for", "kernel", "-o", path);
    expect(result.status).toBe(0);
    const baked = bakedOf(result.stdout);
    expect(baked).toMatchObject({ bytecode: "socket_reader", for: "kernel", output: path });
    const { kernel } = jsonOf("document", readFileSync(document, "utf8")) as {
      kernel: { constants: Record<string, number> };
    };
    for (const [name, value] of Object.entries(baked.constants))
      expect([name, value]).toEqual([name, kernel.constants[name] ?? -1]);
    expect(rodata(path)).toEqual(expect.arrayContaining(Object.values(baked.constants).map(Number)));
    const load = `mount -t bpf bpf /sys/fs/bpf && bpftool prog loadall ${path} /sys/fs/bpf/p && ls /sys/fs/bpf/p`;
    expect(run(["unshare", "--mount", "sh", "-ec", load]).stdout).toContain("raw_tp_tcp_rcv_space_adjust");
  });

  test("--for PATH: the library's constants, measured here or out of a document, the same bytes each time", () => {
    const extract = (name: string, ...more: string[]) =>
      offsetof("bytecode", "extract", "--for", LIBSSL, "-o", scratch.at(name), ...more);
    const measured = bakedOf(extract("measured.o").stdout);
    expect(measured).toMatchObject({ bytecode: "tls_openssl_3_0", for: LIBSSL });
    expect(rodata(scratch.at("measured.o"))).toEqual(
      expect.arrayContaining(Object.values(measured.constants).map(Number)),
    );
    const told = bakedOf(extract("told.o", "--constants", document).stdout);
    const { tls } = jsonOf("document", readFileSync(document, "utf8")) as {
      tls: { path: string; constants: Record<string, number> }[];
    };
    expect(tls.find(({ path }) => path === LIBSSL)?.constants).toMatchObject(told.constants);
    extract("again.o", "--constants", document);
    expect(readFileSync(scratch.at("again.o")).equals(readFileSync(scratch.at("told.o")))).toBe(true);
  });

  test("the document's own pick is what is extracted, and -o - is the object alone", () => {
    const { tls } = jsonOf("document", readFileSync(document, "utf8")) as {
      tls: { path: string; bytecode: string }[];
    };
    const own = tls.find(({ path }) => path === LIBSSL);
    expect(own?.bytecode).toBe("tls_openssl_3_0");
    const path = scratch.at("stdout.o");
    const line = `${executable} bytecode extract --for ${LIBSSL} --constants ${document} -o - > ${path}`;
    expect(run(["sh", "-c", line]).status).toBe(0);
    expect(run(["readelf", "--file-header", path]).stdout).toContain("Linux BPF");
  });

  test("a kernel before 5.8 gets the object for old kernels", () => {
    const text = readFileSync(document, "utf8").replace(
      /"version": \[\s*\d+,\s*\d+,\s*\d+\s*\]/,
      '"version": [4, 19, 0]',
    );
    const old = scratch.at("old.json");
    writeFileSync(old, text);
    const result = offsetof(
      "bytecode",
      "extract",
      "--for",
      "kernel",
      "--constants",
      old,
      "-o",
      scratch.at("old.o"),
    );
    expect(bakedOf(result.stdout).bytecode).toBe("socket_reader_old");
  });

  test("what a document leaves out is not known", () => {
    const only = (command: readonly string[], name: string): string => {
      const path = scratch.at(`${name}.json`);
      writeFileSync(path, offsetof(...command, "--only", name, "--format", "json").stdout);
      return path;
    };
    const extract = (wanted: string, path: string, ...more: string[]) => {
      const ask = ["bytecode", "extract", "--for", wanted, "--constants", path, "-o", scratch.at("only.o")];
      return offsetof(...ask, ...more);
    };
    const kernel = only(["kernel"], "offset_family");
    expect(failureOf(extract("kernel", kernel)).message).toMatch(
      /is not known: offset_saddr, .*offset_rtt_var;/,
    );
    const library = only(["tls", LIBSSL], "SSL_ST_RBIO");
    expect(failureOf(extract(LIBSSL, library)).message).toMatch(
      /is not known: SSL_ST_VERSION, .*BIO_ST_NUM;/,
    );
    const left = extract(LIBSSL, library, "--allow-missing");
    expect(left.status).toBe(3);
    expect(bakedOf(left.stdout).constants).toMatchObject({ SSL_ST_RBIO: 16, SSL_ST_SESSION: null });
    const edit = ["bytecode", "edit", scratch.at("only.o"), "--for", LIBSSL, "--constants", library];
    expect(failureOf(offsetof(...edit, "-o", scratch.at("edited.o"))).message).toContain("SSL_ST_SESSION");
  });

  test.each(["tls_openssl_3_2", "tls_openssl_1_1_old", "tls_boringssl"])(
    "%s, which reads connections of another struct, is refused",
    (name) => {
      const ask = ["bytecode", "extract", name, "--for", LIBSSL, "--constants", document];
      expect(failureOf(offsetof(...ask, "-o", scratch.at("other.o")))).toMatchObject({
        status: 1,
        message: `${LIBSSL}: ${name} does not read this library's connections, tls_openssl_3_0 does: s3 is embedded in ssl_st`,
      });
      expect(existsSync(scratch.at("other.o"))).toBe(false);
    },
  );

  test("what is not known is refused by name; --allow-missing leaves it absent and exits 3", () => {
    const text = readFileSync(document, "utf8").replace(/"offset_rtt": \d+/, '"offset_rtt": null');
    const missing = scratch.at("missing.json");
    writeFileSync(missing, text);
    const path = scratch.at("missing.o");
    const ask = ["bytecode", "extract", "--for", "kernel", "--constants", missing, "-o", path];
    expect(failureOf(offsetof(...ask))).toEqual({
      status: 1,
      code: "E_CONSTANTS",
      message: "of kernel is not known: offset_rtt; --allow-missing leaves that out",
    });
    expect(existsSync(path)).toBe(false);
    const result = offsetof(...ask, "--allow-missing");
    expect(result.status).toBe(3);
    expect(bakedOf(result.stdout).constants.offset_rtt).toBeNull();
    expect(rodata(path)).toContain(0xffff_ffff);
  });

  test.each<[args: string[], status: number, message: string | RegExp]>([
    [["extract", "--for", "kernel"], 2, "-o FILE is needed, or -o - for standard output"],
    [["extract", "tls_openssl_3_0", "-o", "x"], 2, /needs --for kernel or --for PATH/],
    [
      ["extract", "tls_openssl_3", "--for", "kernel", "-o", "x"],
      2,
      /no object is named "tls_openssl_3", did you mean/,
    ],
    [["extract", "--for", "/etc/passwd", "-o", "x"], 1, /\/etc\/passwd has no TLS library in it/],
    [["edit", "-o", "x"], 2, /edit takes one object/],
    [["edit", "/no/such.o", "-o", "x"], 1, "/no/such.o cannot be read: ENOENT"],
    [["edit", "/etc/passwd", "-o", "x"], 1, "/etc/passwd: not an ELF file (at offset 0x0)"],
    [
      ["extract", "--for", "kernel", "--constants", "/etc/passwd", "-o", "x"],
      1,
      /\/etc\/passwd: line 1, column 1/,
    ],
  ])("%j: exit %d", (args, status, message) => {
    const failure = failureOf(run([executable, "bytecode", ...args], { cwd: scratch.path }));
    expect(failure.status).toBe(status);
    if (typeof message === "string") expect(failure.message).toBe(message);
    else expect(failure.message).toMatch(message);
    expect(existsSync(scratch.at("x"))).toBe(false);
  });

  test("a disk that is full leaves nothing behind, and what was there as it was", () => {
    const script = `mount -t tmpfs -o size=8k tmpfs /mnt && echo mine > /mnt/o.o && cd /mnt
      ${executable} bytecode extract --for kernel --constants ${document} -o /mnt/o.o; echo "status $?"; ls -A /mnt; cat /mnt/o.o`;
    const { stdout, stderr } = run(["unshare", "--mount", "sh", "-c", script]);
    expect(stdout).toBe("status 1\no.o\nmine\n");
    expect(stderr).toContain("/mnt/o.o cannot be written: ENOSPC");
  });

  test("a terminal is not written to", () => {
    const { stdout } = run([
      "script",
      "-qec",
      `${executable} bytecode extract --for kernel -o -`,
      "/dev/null",
    ]);
    expect(stdout).toContain("-o - would write an object to the terminal: name a file");
  });
});

test("edit: an object of somebody else gets this kernel's constants, in place too", () => {
  const path = scratch.at("edit.o");
  offsetof("bytecode", "extract", "--for", "kernel", "--constants", document, "-o", path);
  const text = readFileSync(document, "utf8").replace(/"offset_rtt": \d+/, '"offset_rtt": 4242');
  writeFileSync(scratch.at("other.json"), text);
  const result = offsetof("bytecode", "edit", path, "-o", path, "--constants", scratch.at("other.json"));
  expect(result.status).toBe(0);
  expect(bakedOf(result.stdout)).toMatchObject({
    bytecode: null,
    for: "kernel",
    constants: { offset_rtt: 4242 },
  });
  expect(rodata(path)).toContain(4242);
  const none = failureOf(
    offsetof("bytecode", "edit", path, "-o", scratch.at("n.o"), "--for", LIBSSL, "--constants", document),
  );
  expect(none.message).toContain("has none of the constants of");
  expect(readdirSync(scratch.path).filter((name) => name.startsWith("."))).toEqual([]);
});

describe("verify kernel", () => {
  const verify = (...args: string[]) => {
    const { status, stdout } = offsetof("verify", "kernel", ...args);
    return { status, ...v.parse(verifySchema, jsonOf("verify", stdout)).verify };
  };

  test("every comparison holds with what is measured here", () => {
    const { status, kernel } = verify();
    expect(status).toBe(0);
    expect(kernel?.not_compared).toEqual([]);
    for (const { compared, held } of Object.values(kernel?.constants ?? {}))
      expect([compared > 0, held]).toEqual([true, compared]);
  });

  test("with the bpf(2) of Linux 4.17, without BTF and links, the old object holds too, and the current one does not load", async () => {
    const linux417 = [await buildConfine(), "-k", "4.17", executable, "verify", "kernel"];
    const { status, stdout } = run([...linux417, "--bytecode", "old", "--constants", document]);
    const { kernel } = v.parse(verifySchema, jsonOf("verify", stdout)).verify;
    expect([status, kernel?.bytecode]).toEqual([0, "socket_reader_old"]);
    expect(run([...linux417, "--bytecode", "current", "--constants", document]).status).toBe(4);
  });

  test("a constant changed by hand by 2 is named", () => {
    const text = readFileSync(document, "utf8").replace(
      /"offset_sport": (\d+)/,
      (_, value) => `"offset_sport": ${Number(value) + 2}`,
    );
    writeFileSync(scratch.at("wrong.json"), text);
    const { status, kernel } = verify("--constants", scratch.at("wrong.json"));
    expect(status).toBe(3);
    const wrong = Object.entries(kernel?.constants ?? {}).filter(([, { held, compared }]) => held < compared);
    expect(wrong.map(([name]) => name)).toEqual(["offset_sport"]);
    expect(wrong[0]?.[1].mismatch?.expected).toMatch(/^\d+$/);
  });

  test("nothing stays loaded or attached", async () => {
    const held = await heldDuring([executable, "verify", "kernel"]);
    expect(held.map(({ kind }) => kind)).toContain("prog");
    expect(await stillThere(held)).toEqual([]);
  });

  test("without the privilege it is not possible: exit 4 or a reason", () => {
    const asNobody = [
      "setpriv",
      "--reuid=65534",
      "--regid=65534",
      "--clear-groups",
      executable,
      "verify",
      "kernel",
      "--constants",
      document,
    ];
    run(["chmod", "a+rx", scratch.path]);
    const { status, stdout, stderr } = run(asNobody);
    expect({ status, stdout }).toEqual({ status: 4, stdout: "" });
    expect(stderr).toContain("nothing can be verified here");
  });
});
