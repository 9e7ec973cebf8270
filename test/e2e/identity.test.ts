// A file is its descriptor: whatever leads to it, and whatever its name is, the answer is of that very file.
import { afterAll, beforeAll, describe, expect, test } from "bun:test";
import { chmodSync, chownSync, copyFileSync, mkdirSync, readdirSync, realpathSync, rmSync } from "node:fs";
import { join } from "node:path";
import { loadPackage } from "../../assets/build/debian.ts";
import { documentOf, executable, type Run, repository, run, Scratch } from "./executable.ts";

const lib = "/usr/lib/x86_64-linux-gnu";
const long = 120_000;
const scratch = new Scratch();
/** OpenSSL 1.1.1, and this machine's own 3.x. */
let old = "";
const [machines, crypto] = ["libssl.so.3", "libcrypto.so.3"].map((name) => realpathSync(`${lib}/${name}`));

beforeAll(async () => {
  chmodSync(scratch.path, 0o755);
  old = join((await loadPackage("bullseye", "libssl1.1")).root, `${lib}/libssl.so.1.1`);
  for (const name of ["holder", "memory"]) {
    done(["cc", "-static", "-o", scratch.at(name), join(repository, `test/unit/tls/${name}.c`)]);
  }
}, long);
afterAll(() => scratch[Symbol.dispose]());

function done(command: string[]): string {
  const { status, stdout, stderr } = run(command);
  if (status !== 0) throw new Error(`${command.join(" ")}: ${stderr}`);
  return stdout;
}

/** By an independent reader, through the kernel's own links. */
const buildId = (path: string): string => /Build ID: (\w+)/.exec(done(["readelf", "-n", path]))?.[1] ?? "";

/** A process that has said that it is ready. */
async function ready(command: string[]) {
  const child = Bun.spawn(command, { stdin: "ignore", stdout: "pipe", stderr: "inherit" });
  const { value } = await child.stdout.getReader().read();
  expect(Buffer.from(value ?? []).toString()).toBe("ready\n");
  return {
    pid: child.pid,
    async [Symbol.asyncDispose]() {
      child.kill("SIGKILL");
      await child.exited;
    },
  };
}

/** A shell script in a mount namespace of its own, which ends in what is ready. `$0` is the scratch folder. */
const apart = (script: string, ...args: string[]) =>
  ready(["unshare", "--mount", "--propagation", "private", "sh", "-ec", script, scratch.path, ...args]);

const tlsOf = (result: Run) => {
  const document = documentOf(result);
  // Of the host and of processes that others started it is not asked.
  const told = document.diagnostics.filter(({ code }) => /_TLS_/.test(code) && code !== "W_TLS_DENIED");
  return { tls: document.tls ?? [], messages: told.map(({ message }) => message) };
};
const ask = (...args: string[]) => tlsOf(run([executable, "tls", ...args]));
/** As above, with an argument that a shell's printf makes. */
const askPrinted = (format: string, ...args: string[]) =>
  tlsOf(
    run(["sh", "-c", 'name=$(printf "$1"); shift; exec "$0" tls "$@" "$name"', executable, format, ...args]),
  );

const unprobed = (messages: readonly string[]) => messages.filter((one) => one.includes("not probed"));

describe("a path that leads into another mount namespace", () => {
  /** A namespace with a file system of its own at `place`: this machine's library in it; then the holder, with its root there. */
  const inside = (place: string, more = "") =>
    apart(
      `mkdir -p ${place}; mount -t tmpfs t ${place}; chmod 755 ${place}; cp -L ${machines} ${crypto} ${place}
       cd ${place}; ${more} exec "$0/holder" 1 ./libssl.so.3`,
    );

  test.each([
    ["nothing lies", false],
    ["another file lies", true],
  ])(
    "where %s at that path on this side",
    async (_, isOther) => {
      const place = scratch.at(`side-${isOther}`);
      await using process = await inside(place);
      if (isOther) copyFileSync(old, join(place, "libssl.so.3"));
      for (const path of [
        `/proc/${process.pid}/root${place}/libssl.so.3`,
        `/proc/${process.pid}/cwd/libssl.so.3`,
        `/proc/${process.pid}/cwd/../${place.split("/").at(-1)}/libssl.so.3`,
        `/proc/${process.pid}/root/${machines}`,
      ]) {
        const { tls, messages } = ask(path);
        expect(tls).toMatchObject([{ path, build_id: buildId(path), library: "openssl" }]);
        expect(tls[0]).not.toHaveProperty("root");
        expect(tls[0]?.version).toStartWith("3.");
        expect(tls[0]?.fields.SSL_ST_RBIO?.evidence).toMatchObject({ probe: [16] });
        expect(unprobed(messages)).toEqual([]);
      }
    },
    long,
  );

  test("from the working directory, where that is there", async () => {
    const place = scratch.at("there");
    await using process = await inside(place);
    const relative = run([
      "sh",
      "-c",
      `cd /proc/${process.pid}/cwd && exec "$0" tls ./libssl.so.3`,
      executable,
    ]);
    const { tls, messages } = tlsOf(relative);
    expect(unprobed(messages)).toEqual([]);
    expect(tls).toMatchObject([
      {
        path: `${place}/libssl.so.3`,
        root: expect.stringMatching(/^\/proc\/\d+\/cwd(\/\.\.)+$/),
        build_id: buildId(`/proc/${process.pid}/cwd/libssl.so.3`),
        fields: { SSL_ST_RBIO: { evidence: { probe: [16] } } },
      },
    ]);
  });

  test(
    "what the library needs, and links, are looked for inside that root",
    async () => {
      const { root, version } = await loadPackage("trixie", "libssl3t64");
      const tree = scratch.at("tree");
      mkdirSync(join(tree, lib), { recursive: true });
      done(["cp", "-a", `${join(root, lib)}/.`, join(tree, lib)]);
      for (const folder of ["", "usr", "usr/lib", lib]) chmodSync(join(tree, folder), 0o755);
      done(["ln", "-s", `${lib}/libssl.so.3`, join(tree, "absolute")]);
      done(["ln", "-s", "/nowhere", join(tree, "dangling")]);
      done(["ln", "-s", "/proc/1/root/etc/passwd", join(tree, "out")]);
      copyFileSync(scratch.at("holder"), join(tree, "holder"));
      await using process = await ready(["unshare", "--mount", "--root", tree, "/holder", "1", "/absolute"]);
      const at = `/proc/${process.pid}/root`;
      const expected = {
        build_id: buildId(join(tree, lib, "libssl.so.3")),
        version: version.replace(/-.*$/, ""),
        used_by: [process.pid],
      };
      for (const name of ["absolute", `${lib.slice(1)}/libssl.so.3`]) {
        expect(ask(`${at}/${name}`).tls).toMatchObject([{ path: `${at}/${name}`, ...expected }]);
      }
      // A program that links it: the one in there, told with its root.
      const program = join(tree, "program");
      done([
        "sh",
        "-c",
        `echo 'int main(){}' | cc -x c - -x none -Wl,--no-as-needed -o ${program} ${machines} ${crypto}`,
      ]);
      const linked = ask(`${at}/program`);
      expect(linked.tls).toMatchObject([{ path: `${lib}/libssl.so.3`, root: at, ...expected }]);
      expect(linked.messages).toContainEqual(
        `${at}/program: only uses TLS; the library it is linked with is ${at}${lib}/libssl.so.3`,
      );
      for (const name of ["dangling", "out"]) {
        expect(ask(`${at}/${name}`).messages[0]).toStartWith(`${at}/${name}: cannot be read: E`);
      }
    },
    long,
  );

  test(
    "trust is of that very file and of the folders on the way to it in there",
    async () => {
      const place = scratch.at("trusted");
      await using process = await inside(place);
      const [folder, file] = ["", "/libssl.so.3"].map(
        (name) => `/proc/${process.pid}/root${place}${name}`,
      ) as [string, string];
      const refused = (what: string, path = file) => [
        `${file}: not probed: ${what}; --trust ${path} has it executed all the same`,
      ];
      chmodSync(folder, 0o777);
      const writable = `${folder} can be written by group or others; take that from them (chmod go-w)`;
      expect(unprobed(ask(file).messages)).toEqual(refused(writable, `${folder}/libcrypto.so.3`));
      chmodSync(folder, 0o755);
      chownSync(file, 1234, 1234);
      const belongs = `${file} belongs to user 1234; it must belong to root (chown)`;
      expect(unprobed(ask(file).messages)).toEqual(refused(belongs));
      // The same file by another name, and not a file of the same name on this side.
      expect(unprobed(ask(file, "--trust", `/proc/${process.pid}/cwd/libssl.so.3`).messages)).toEqual([]);
      copyFileSync(old, join(place, "libssl.so.3"));
      expect(unprobed(ask(file, "--trust", join(place, "libssl.so.3")).messages)).toEqual(refused(belongs));
    },
    long,
  );
});

test(
  "a chroot inside a mount namespace: its library is probed with its own libcrypto",
  async () => {
    const place = scratch.at("jail");
    await using process = await apart(
      `mkdir -p ${place}; mount -t tmpfs t ${place}; chmod 755 ${place}; cd ${place}; mkdir -p lib; cp -L ${machines} ${crypto} lib
     cp "$0/holder" .; exec chroot ${place} /holder 1 /lib/libssl.so.3 /lib/libcrypto.so.3`,
    );
    const { tls, messages } = ask("--pid", String(process.pid));
    const root = `/proc/${process.pid}/root`;
    expect(tls).toMatchObject([
      {
        path: "/lib/libssl.so.3",
        root,
        build_id: buildId(`${root}/lib/libssl.so.3`),
        used_by: [process.pid],
      },
    ]);
    expect(tls[0]?.fields.SSL_ST_RBIO?.evidence).toMatchObject({ probe: [16] });
    expect(unprobed(messages)).toEqual([]);
    // Nor does it matter that its working directory is the root itself.
    expect(ask(`/proc/${process.pid}/cwd/lib/libssl.so.3`).tls).toMatchObject([
      { build_id: tls[0]?.build_id, fields: { SSL_ST_RBIO: { evidence: { probe: [16] } } } },
    ]);
  },
  long,
);

test("/proc/PID/exe: a program that is no longer there, and one of another namespace", async () => {
  const source = scratch.at("program.c");
  await Bun.write(
    source,
    `#include <stdio.h>
#include <unistd.h>
void *SSL_new(void *context) { return context; }
int main(void) { puts("ready"); fflush(stdout); for (;;) pause(); }`,
  );
  const build = ["cc", "-rdynamic", "-Wl,--build-id", "-o", scratch.at("program"), source];
  done(build);
  await using gone = await ready([scratch.at("program")]);
  const id = buildId(scratch.at("program"));
  rmSync(scratch.at("program"));
  copyFileSync(old, scratch.at("program"));
  const path = `/proc/${gone.pid}/exe`;
  expect(ask(path).tls).toMatchObject([{ path, build_id: id, used_by: [gone.pid] }]);
  expect(ask("--pid", String(gone.pid)).tls).toMatchObject([
    { path: scratch.at("program"), deleted: true, build_id: id },
  ]);
  rmSync(scratch.at("program"));
  done(build);
  await using other = await apart(`mount -t tmpfs t /mnt; cp "$0/program" /mnt/program; exec /mnt/program`);
  expect(ask(`/proc/${other.pid}/exe`).tls).toMatchObject([
    { path: `/proc/${other.pid}/exe`, build_id: id, used_by: [other.pid] },
  ]);
  expect(ask("--pid", String(other.pid)).tls).toMatchObject([
    { path: "/mnt/program", root: `/proc/${other.pid}/root` },
  ]);
});

describe("names of any bytes", () => {
  // As printf(1) makes them, and as they are shown.
  const names = [
    ["new\\nline", "new\nline"],
    ["mixed\\n\\\\012", "mixed\n\\012"],
    ["byte\\377", "byte\\xff"],
    ["written\\\\xff", "written\\x5cxff"],
    ["half\\303", "half\\xc3"],
    ["half\\342\\202", "half\\xe2\\x82"],
    ["surrogate\\355\\263\\277", "surrogate\\xed\\xb3\\xbf"],
    ["\\303\\251\\377", "é\\xff"],
    ["replaced\\357\\277\\275", "replaced\ufffd"],
    ["dev-disk-by\\\\x2duuid", "dev-disk-by\\x2duuid"],
  ] as const;
  const folder = () => scratch.at("names");
  /** The first part of the name is that of a folder, the second that of the library in it. */
  const [head, tail] = ["libssl.so.3", "libcrypto.so.3"];

  beforeAll(() => {
    for (const [format] of names) {
      const script = `d=$(printf "${folder()}/$1_"); d=\${d%_}; mkdir -p "$d"; cp -L "$2" "$3" "$d/"`;
      done(["sh", "-ec", script, "sh", format, machines ?? "", crypto ?? ""]);
    }
    expect(readdirSync(folder(), "buffer").length).toBe(names.length);
  });

  test.each(names)(
    "%j as an argument is shown as %j, and is probed",
    (format, shown) => {
      const { tls, messages } = askPrinted(`${folder()}/${format}/${head}`);
      expect(tls).toMatchObject([
        { path: `${folder()}/${shown}/${head}`, build_id: buildId(machines ?? "") },
      ]);
      expect(tls[0]?.version_from).toStartWith(tail);
      expect(tls[0]?.fields.SSL_ST_RBIO?.evidence).toMatchObject({ probe: [16] });
      expect(unprobed(messages)).toEqual([]);
      const none = askPrinted(`${folder()}/${format}/none`);
      expect(none.messages).toEqual([`${folder()}/${shown}/none: cannot be read: ENOENT`]);
    },
    long,
  );

  test(
    "in what a process has mapped, here and in a container, each its own",
    async () => {
      const script = `set --; for each in names/*/libssl.so.3; do set -- "$@" "$each" "\${each%/*}/libcrypto.so.3"; done`;
      const expected = names.map(([, shown]) => `${shown}/${head}`).sort();
      await using here = await ready(["sh", "-ec", `cd "$0"; ${script}; exec ./holder 1 "$@"`, scratch.path]);
      const mine = ask("--pid", String(here.pid), "--source", "code,table");
      expect(mine.tls.map(({ path }) => path).sort()).toEqual(
        expected.map((one) => `${folder()}/${one}`).sort(),
      );
      expect(mine.tls.map(({ deleted }) => deleted ?? false)).not.toContain(true);
      const jail = scratch.at("bytes");
      await using there = await apart(
        `mkdir -p ${jail}; mount -t tmpfs t ${jail}; cp -r "$0/names" "$0/holder" ${jail}; cd ${jail}; ${script}
       exec chroot ${jail} /holder 1 "$@"`,
      );
      const theirs = ask("--pid", String(there.pid), "--source", "code,table");
      expect(theirs.tls.map(({ root, path }) => `${root}${path}`).sort()).toEqual(
        expected.map((one) => `/proc/${there.pid}/root/names/${one}`).sort(),
      );
      expect(theirs.tls.map(({ deleted }) => deleted ?? false)).not.toContain(true);
    },
    long,
  );

  test(
    "an ordinary user's own, where the kernel gives it no links to what is mapped",
    async () => {
      const user = ["setpriv", "--reuid=1234", "--regid=1234", "--clear-groups"];
      const script = `cd "$0"; for each in names/*/libssl.so.3; do set -- "$@" "$each"; done; exec ./holder 1 "$@"`;
      await using theirs = await ready([...user, "sh", "-ec", script, scratch.path]);
      copyFileSync(executable, scratch.at("offsetof"));
      chmodSync(scratch.at("offsetof"), 0o755);
      const asked = [scratch.at("offsetof"), "tls", "--pid", String(theirs.pid), "--source", "code,table"];
      expect(
        tlsOf(run([...user, ...asked]))
          .tls.map(({ path }) => path)
          .sort(),
      ).toEqual(names.map(([, shown]) => `${folder()}/${shown}/${head}`).sort());
    },
    long,
  );

  test(
    "as --trust, --constants and -o take them, and in every format",
    () => {
      const trusted = scratch.at("open\\377");
      done([
        "sh",
        "-ec",
        `d=$(printf '%b' "$1"); mkdir "$d"; chmod 777 "$d"; cp -L "$2" "$3" "$d/"`,
        "sh",
        trusted,
        machines ?? "",
        crypto ?? "",
      ]);
      const path = `${trusted}/${head}`;
      expect(unprobed(askPrinted(path).messages)).toEqual([
        expect.stringContaining(`--trust ${scratch.at("open\\xff")}/${tail} has it executed all the same`),
      ]);
      const both = `l=$(printf '%b' "$1"); c=$(printf '%b' "$2"); exec "$0" tls "$l" --trust "$l,$c"`;
      const named = tlsOf(run(["sh", "-c", both, executable, path, `${trusted}/${tail}`]));
      expect(unprobed(named.messages)).toEqual([]);
      for (const format of ["table", "env", "header"]) {
        const script = `exec "$0" tls "$(printf '%b' "$1")" --format ${format}`;
        const { stdout } = run(["sh", "-c", script, executable, path]);
        expect(stdout).toContain("open\\xff");
      }
    },
    long,
  );
});

describe("what is read and written by name besides", () => {
  test(
    "a document, a library in it and an object, each of any name",
    () => {
      const folder = scratch.at("rw\\377");
      const inside = (script: string) =>
        run(["sh", "-ec", `d=$(printf '%b' "$1"); mkdir -p "$d"; cd "$d"; ${script}`, executable, folder]);
      const made = inside(
        `cp -L ${machines} ${crypto} .
       "$0" tls "$d/libssl.so.3" --trust "$d/libssl.so.3,$d/libcrypto.so.3" > "$d/doc"
       ln -s "$d/real" "$d/link"; echo old > "$d/real"
       for out in "$d/out" rel link; do
         "$0" bytecode extract --for "$d/libssl.so.3" --constants "$d/doc" -o "$out" --allow-missing > "$d/said" || [ $? = 3 ]
       done
       cmp out rel; cmp out real; [ -L link ]; cat said; ls`,
      );
      expect({ ...made, stdout: "" }).toEqual({ status: 0, stdout: "", stderr: "" });
      const said = JSON.parse(made.stdout.slice(0, made.stdout.lastIndexOf("}") + 1));
      expect(said).toMatchObject({ output: "link", for: `${scratch.at("rw\\xff")}/libssl.so.3` });
      expect(made.stdout.trim().split("\n").slice(-8).join(" ")).toEndWith(
        "doc libcrypto.so.3 libssl.so.3 link out real rel said",
      );
    },
    long,
  );

  test(
    "an object is never written to the file of the same path on this side",
    async () => {
      const place = scratch.at("written");
      await using process = await apart(
        `mkdir -p ${place}; mount -t tmpfs t ${place}; echo theirs > ${place}/object; exec "$0/holder" 1`,
      );
      const kernel = ["bytecode", "extract", "--for", "kernel", "--allow-missing", "--constants"];
      await Bun.write(scratch.at("kernel.json"), run([executable, "kernel", "--source", "btf"]).stdout);
      await Bun.write(join(place, "object"), "ours");
      const extract = (output: string) =>
        run([executable, ...kernel, scratch.at("kernel.json"), "-o", output]);
      const there = `/proc/${process.pid}/root${place}/object`;
      expect([0, 3]).toContain(extract(there).status);
      expect(await Bun.file(there).text()).toContain("\x7fELF");
      done(["ln", "-s", there, scratch.at("leads")]);
      const refused = extract(scratch.at("leads"));
      expect(refused.status).toBe(1);
      expect(refused.stderr).toContain("leads to a file that does not lie at");
      expect(await Bun.file(join(place, "object")).text()).toBe("ours");
    },
    long,
  );

  test(
    "settings through the kernel's links are those that lie there, or none",
    async () => {
      const place = "/etc/offsetof-identity";
      mkdirSync(place, { mode: 0o755 });
      try {
        await using process = await apart(
          `mount -t tmpfs t ${place}; chmod 755 ${place}; echo '{"threshold": 411}' > ${place}/c; exec "$0/holder" 1`,
        );
        await Bun.write(join(place, "c"), '{"threshold": 422}');
        const asked = run([executable, "config", "--config", `/proc/${process.pid}/root${place}/c`]);
        expect(asked.stdout).not.toContain("422");
        expect({ ...asked, stderr: "" }).toEqual({ status: 2, stdout: "", stderr: "" });
        expect(asked.stderr).toContain(
          `does not lie at ${place}/c, where its links lead; name it by its own path`,
        );
      } finally {
        rmSync(place, { recursive: true });
      }
    },
    long,
  );
});

describe("a library that lies in memory alone", () => {
  test.each(["plain", "sealed"])(
    "%s: it is measured, by probe too",
    async (how) => {
      await using process = await ready([scratch.at("memory"), how, machines ?? "", crypto ?? ""]);
      const { tls, messages } = ask("--pid", String(process.pid));
      expect(tls).toMatchObject([
        { path: "/memfd:anything", deleted: true, build_id: buildId(machines ?? ""), used_by: [process.pid] },
      ]);
      expect(tls[0]?.version).toStartWith("3.");
      expect(tls[0]?.version_from).toBe("libcrypto.so.3 .rodata");
      expect(tls[0]?.fields.SSL_ST_RBIO?.evidence).toMatchObject({ probe: [16], code: [16] });
      expect(unprobed(messages)).toEqual([]);
      // Named by the kernel's own link, it is the same.
      const fd = readdirSync(`/proc/${process.pid}/fd`).find(
        (each) => buildIdOrNone(`/proc/${process.pid}/fd/${each}`) === tls[0]?.build_id,
      );
      const path = `/proc/${process.pid}/fd/${fd}`;
      expect(ask(path).tls).toMatchObject([
        { path, used_by: [process.pid], fields: { SSL_ST_RBIO: { evidence: { probe: [16] } } } },
      ]);
    },
    long,
  );

  test(
    "that another user may write to: its code is read, it is not executed",
    async () => {
      await using process = await ready([scratch.at("memory"), "held", machines ?? "", crypto ?? ""]);
      const { tls, messages } = ask("--pid", String(process.pid));
      expect(tls[0]?.fields.SSL_ST_RBIO?.evidence).toMatchObject({ code: [16] });
      expect(tls[0]?.fields.SSL_ST_RBIO?.evidence).not.toHaveProperty("probe");
      expect(unprobed(messages)).toEqual([
        expect.stringMatching(/lies in memory, where process \d+ of another user may write to it$/),
      ]);
    },
    long,
  );
});

const buildIdOrNone = (path: string): string =>
  /Build ID: (\w+)/.exec(run(["readelf", "-n", path]).stdout)?.[1] ?? "";
