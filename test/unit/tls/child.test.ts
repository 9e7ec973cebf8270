import { afterAll, describe, expect, test } from "bun:test";
import {
  chmodSync,
  closeSync,
  mkdirSync,
  mkdtempSync,
  openSync,
  readdirSync,
  readFileSync,
  rmSync,
  unlinkSync,
  writeFileSync,
} from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { runChild } from "../../../src/tls/child/child.ts";
import { expectConfined, openOf } from "../../confined.ts";
import { buildHostile, otherDeeds, processesWith, refusedDeeds } from "../../hostile.ts";
import { hang, until } from "../../until.ts";

const root = mkdtempSync(join(tmpdir(), "offsetof-child-"));
const folder = join(root, "open");
mkdirSync(folder);
chmodSync(root, 0o755);
chmodSync(folder, 0o777);
writeFileSync(join(folder, "open"), "kept\n");
chmodSync(join(folder, "open"), 0o666);

const connections: unknown[] = [];
const listener = Bun.listen({
  hostname: "127.0.0.1",
  port: 0,
  socket: { open: (socket) => void connections.push(socket.end()), data() {} },
});
const datagrams: unknown[] = [];
const receiver = await Bun.udpSocket({
  hostname: "127.0.0.1",
  port: listener.port,
  socket: { data: (_, data) => void datagrams.push(data) },
});
const asNobody = ["setpriv", "--reuid=65534", "--regid=65534", "--clear-groups"];
const victim = Bun.spawn([...asNobody, "sleep", "600"]);
afterAll(() => {
  victim.kill();
  receiver.close();
  listener.stop(true);
  rmSync(root, { recursive: true });
});

/** Loads a library in the child. */
async function load(library: string, milliseconds = hang) {
  const fd = openSync(library, "r");
  try {
    return await runChild("probe", { library: "openssl" }, { files: [fd], milliseconds, libc: "glibc" });
  } finally {
    closeSync(fd);
  }
}

/** The trap works: what the deed comes to where a program of nobody's has the library, without the child. */
async function unconfined(library: string): Promise<number> {
  const child = Bun.spawn([...asNobody, "env", `LD_PRELOAD=${library}`, "/bin/true"], { cwd: folder });
  const status = await child.exited;
  for (const pid of processesWith(library)) process.kill(pid, "SIGKILL");
  return status;
}

const deeds = refusedDeeds({ folder, port: listener.port, victim: victim.pid });

/** What a deed could leave. */
const traces = () => ({
  files: readdirSync(folder).sort(),
  kept: readFileSync(join(folder, "open"), "utf8"),
  connections: connections.length,
  datagrams: datagrams.length,
});
const untouched = { files: ["open"], kept: "kept\n", connections: 0, datagrams: 0 };

describe("a library that does it when it is loaded", () => {
  test.each([...deeds])("$name: is refused, and leaves nothing", async (deed) => {
    const library = buildHostile(deed, join(root, "libraries"));
    const reason = `it ended with ${deed.refusal ?? 1} and without an answer`;
    expect(await load(library)).toEqual({ state: "failed", reason });
    expect(traces()).toEqual(untouched);
    expect(processesWith(library)).toEqual([]);
    expect(await unconfined(library)).toBe(0);
    for (const name of readdirSync(folder)) rmSync(join(folder, name), { recursive: true });
    writeFileSync(join(folder, "open"), "kept\n");
    chmodSync(join(folder, "open"), 0o666);
    connections.length = datagrams.length = 0;
  });

  test.each([...otherDeeds])("$name: the parent is told", async ({ reason, milliseconds, ...deed }) => {
    const library = buildHostile(deed, join(root, "libraries"));
    expect(await load(library, milliseconds)).toEqual({
      state: "failed",
      reason: typeof reason === "string" ? reason : expect.stringMatching(reason),
    });
    expect(processesWith(library)).toEqual([]);
  });
});

/** A library that sleeps once it is loaded, in a child that is under way meanwhile. */
async function whileLoaded<Result>(act: (pid: number) => Result | Promise<Result>): Promise<Result> {
  const library = buildHostile({ name: "sleeps", code: "for (;;) sleep(1000);" }, join(root, "libraries"));
  const outcome = load(library);
  const pid = await until(() => processesWith(library).at(-1));
  try {
    return await act(pid);
  } finally {
    process.kill(pid, "SIGKILL");
    await outcome;
  }
}

describe("while foreign code runs", () => {
  test("every thread is of a user of its own, has no right and no way to one", () =>
    whileLoaded((pid) => {
      expect(readdirSync(`/proc/${pid}/task`).length).toBeGreaterThan(1);
      expectConfined(pid);
    }));

  test("it has none of the groups that this process has", async () => {
    const before = process.getgroups?.() ?? [];
    process.setgroups?.([1, 4, 27]);
    try {
      expect(readFileSync("/proc/self/status", "utf8")).toMatch(/^Groups:\t1 4 27 $/m);
      await whileLoaded((pid) => {
        for (const thread of readdirSync(`/proc/${pid}/task`))
          expect(readFileSync(`/proc/${pid}/task/${thread}/status`, "utf8")).toMatch(/^Groups:\t $/m);
      });
    } finally {
      process.setgroups?.(before);
    }
  });

  test("it has no environment and no descriptor but its own", () =>
    whileLoaded((pid) => {
      const parent = /^PPid:\t(\d+)$/m.exec(readFileSync(`/proc/${pid}/status`, "utf8"))?.[1];
      for (const stage of [pid, parent]) {
        expect(readFileSync(`/proc/${stage}/environ`, "utf8").replaceAll("\0", "")).toBe("");
      }
      // The library and the way of the answer; prints go to a folder, where they fail; from source, the runtime may have the script open too.
      const known = [expect.stringMatching(/\/sleeps\.so$/), expect.stringMatching(/^socket:/)];
      expect(openOf(pid).filter((one) => !one.endsWith("/main.ts"))).toEqual(known);
    }));

  test("its limits are low", () =>
    whileLoaded((pid) => {
      const limits = readFileSync(`/proc/${pid}/limits`, "utf8");
      for (const [name, limit] of [
        ["core file size", 0],
        ["file size", 0],
        ["cpu time", hang / 1000],
        ["open files", 64],
      ]) {
        expect(limits).toMatch(new RegExp(`^Max ${name} +${limit} +${limit} `, "m"));
      }
    }));
});

test("nothing survives a parent that is killed", async () => {
  const library = buildHostile({ name: "survives", code: "for (;;) sleep(1000);" }, join(root, "libraries"));
  const program = join(root, "parent.ts");
  writeFileSync(
    program,
    `import { openSync } from "node:fs";
    import { runChild } from ${JSON.stringify(join(import.meta.dir, "../../../src/tls/child/child.ts"))};
    await runChild("probe", { library: "openssl" }, { files: [openSync(${JSON.stringify(library)}, "r")], milliseconds: ${hang} });`,
  );
  for (const pause of [0, 10, 20, 40, 60, 80, 120, 200]) {
    const parent = Bun.spawn([process.execPath, program]);
    // At whatever point of its life the child is; the last time surely when the library is loaded.
    if (pause < 200) await Bun.sleep(100 + pause);
    else await until(() => processesWith(library).at(-1));
    parent.kill("SIGKILL");
    await parent.exited;
    await until(() => children().length === 0 && processesWith(library).length === 0);
  }
});

/** Processes that are a child of this program's in either stage. */
const children = (): readonly string[] =>
  readdirSync("/proc").filter((pid) => {
    try {
      const line = readFileSync(`/proc/${pid}/cmdline`, "utf8");
      return line.includes("\0@child\0") && line.includes(join(import.meta.dir, "../../.."));
    } catch {
      return false;
    }
  });

describe("files", () => {
  test("a library that lies nowhere any more is loaded", async () => {
    const library = buildHostile({ name: "gone", code: "return 3;" }, join(root, "libraries"));
    const fd = openSync(library, "r");
    unlinkSync(library);
    expect(
      await runChild("probe", { library: "openssl" }, { files: [fd], milliseconds: hang, libc: "glibc" }),
    ).toEqual({
      state: "failed",
      reason: "it ended with 3 and without an answer",
    });
    closeSync(fd);
  });

  test("several are loaded in their order, and the job's answer comes back", async () => {
    const files = ["libcrypto.so.3", "libssl.so.3"].map((name) =>
      openSync(`/usr/lib/x86_64-linux-gnu/${name}`, "r"),
    );
    expect(
      await runChild("probe", { library: "openssl" }, { files, milliseconds: hang, libc: "glibc" }),
    ).toEqual({
      state: "answered",
      answer: expect.arrayContaining([{ constant: "SSL_ST_RBIO", candidates: [16] }]),
    });
    for (const fd of files) closeSync(fd);
  });

  test("a library that finds its functions in another libcrypto than the one that was given is not measured", async () => {
    // Under another name it does not serve libssl, for which the linker looks elsewhere then.
    const other = join(root, "libcrypto.so");
    const bytes = readFileSync("/usr/lib/x86_64-linux-gnu/libcrypto.so.3");
    bytes.write("libcryptx.so.3\0", bytes.indexOf("\0libcrypto.so.3\0") + 1);
    writeFileSync(other, bytes);
    const files = [other, "/usr/lib/x86_64-linux-gnu/libssl.so.3"].map((path) => openSync(path, "r"));
    expect(
      await runChild("probe", { library: "openssl" }, { files, milliseconds: 10_000, libc: "glibc" }),
    ).toEqual({
      state: "failed",
      reason: expect.stringMatching(
        new RegExp(`^BIO_new is of /usr/lib/x86_64-linux-gnu/libcrypto.so.3, not of ${other}$`),
      ),
    });
    for (const fd of files) closeSync(fd);
  });

  test("what is no library is told with the linker's words", async () => {
    const path = join(root, "text");
    writeFileSync(path, "no library");
    expect(await load(path)).toEqual({ state: "failed", reason: `${path}: file too short` });
    chmodSync(path, 0o600);
    expect(await load(path)).toEqual({
      state: "failed",
      reason: `${path}: cannot open shared object file: Permission denied`,
    });
  });
});
