/** Libraries that do harm when they are loaded, asked of the executable: what the child does is in test/unit/tls/child.test.ts. */
import { afterAll, describe, expect, test } from "bun:test";
import {
  chmodSync,
  chownSync,
  copyFileSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  realpathSync,
  symlinkSync,
  unlinkSync,
  writeFileSync,
} from "node:fs";
import { basename, join } from "node:path";
import { expectConfined, openOf } from "../confined.ts";
import {
  buildAnonymous,
  buildHarmless,
  buildHostile,
  buildNeeded,
  buildWith,
  type Deed,
  refusedDeeds,
} from "../hostile.ts";
import { until } from "../until.ts";
import { documentOf, executable, type Run, repository, run, Scratch } from "./executable.ts";

const scratch = new Scratch();
afterAll(() => scratch[Symbol.dispose]());
chmodSync(scratch.path, 0o755);
mkdirSync(scratch.at("open"));
chmodSync(scratch.at("open"), 0o777);

let connections = 0;
const listener = Bun.listen({
  hostname: "127.0.0.1",
  port: 0,
  socket: {
    open: (socket) => {
      connections += 1;
      socket.end();
    },
    data() {},
  },
});
afterAll(() => listener.stop(true));

const surroundings = { folder: scratch.at("open"), port: listener.port, victim: process.pid };
const ask = (library: string, ...flags: string[]): Run => run([executable, "tls", library, ...flags]);
/** The same in a pid namespace of its own, and which processes are left there at the end, beside the shell. */
function askAlone(library: string): Run & { readonly left: number } {
  // What was killed with its parent may take a moment to be gone: a minute is none.
  const wait = "for i in $(seq 600); do set -- /proc/[1-9]*; [ $# -gt 1 ] || break; sleep 0.1; done";
  const script = `"$@"; status=$?; ${wait}; printf '%s\\n' "$@" >&2; exit $status`;
  const alone = ["unshare", "--pid", "--fork", "--mount-proc", "sh", "-c", script, "sh"];
  const { stderr, ...result } = run([...alone, executable, "tls", library]);
  const lines = stderr.split("\n").filter((line) => line !== "");
  const processes = lines.filter((line) => /^\/proc\/\d+$/.test(line));
  return {
    ...result,
    stderr: lines.filter((line) => !processes.includes(line)).join("\n"),
    left: processes.length - 1,
  };
}

/** Why it was not probed. */
const reasonOf = (result: Run): string | undefined =>
  documentOf(result).diagnostics.find(({ code }) => code === "W_TLS_PROBE")?.message;
/** Processes that have a file mapped of which no other program knows. */
const processesThatMap = (path: string): readonly number[] =>
  readdirSync("/proc")
    .filter((name) => /^\d+$/.test(name))
    .map(Number)
    .filter((pid) => {
      try {
        return readFileSync(`/proc/${pid}/maps`, "latin1").includes(path);
      } catch {
        return false; // gone, or a kernel's own
      }
    });
const leavesWith = (status: number): Deed => ({ name: `leaves with ${status}`, code: `return ${status};` });

test("an answer that a library forges names no constant that the library cannot have", () => {
  const answer = JSON.stringify({ answer: [{ constant: "PATH", candidates: [7] }] });
  const text = JSON.stringify(`${answer}\n`);
  const length = answer.length + 1;
  const code = `for (int fd = 3; fd < 64 && write(fd, ${text}, ${length}) != ${length}; fd++); return 0;`;
  const library = buildHostile({ name: "forges an answer", code }, scratch.at("libraries"));
  expect(reasonOf(ask(library))).toBe(`${library}: not probed: what it answered is no answer`);
  expect(ask(library, "--format", "env").stdout).not.toMatch(/^PATH=/m);
});

test("an answer that a library forges tells no offset that its struct cannot have", () => {
  const answer = JSON.stringify({ answer: [{ constant: "SSL_ST_WBIO", candidates: [60_000] }] });
  const text = JSON.stringify(`${answer}\n`);
  const length = answer.length + 1;
  const code = `for (int fd = 3; fd < 64 && write(fd, ${text}, ${length}) != ${length}; fd++); return 0;`;
  const library = buildHostile({ name: "forges an offset", code }, scratch.at("libraries"));
  expect(reasonOf(ask(library))).toBe(`${library}: not probed: what it answered is no answer`);
});

describe("code and table answer, the reason is told, and nothing is done", () => {
  const names = ["makes a file", "becomes a daemon", "connects", "runs a shell"];
  const refused = refusedDeeds(surroundings)
    .filter(({ name }) => names.includes(name))
    .map((deed) => ({ ...deed, reason: "it ended with 1 and without an answer" }));
  test.each([
    ...refused,
    { name: "sleeps", code: "for (;;) sleep(1000);", reason: /not probed: not done after \d+ ms$/ },
    {
      name: "faults",
      code: "return *(volatile int *)8;",
      reason: "it ended with 11 (SIGSEGV) and without an answer",
    },
    {
      name: "writes on every descriptor",
      code: `for (int fd = 0; fd < 1024; fd++) write(fd, "{}\\n", 3);`,
      reason: "what it wrote is no answer",
    },
    {
      name: "answers in the probe's place",
      code: `static const char a[] = "{\\"answer\\":[{\\"constant\\":\\"SSL_ST_RBIO\\",\\"candidates\\":[\\"8\\"]}]}"; struct stat s; int fd = 3; while (fstat(fd, &s) || !S_ISSOCK(s.st_mode)) fd++; write(fd, a, sizeof a - 1); _exit(0);`,
      reason: "what it answered is no answer",
    },
  ])("$name", ({ reason, ...deed }) => {
    const unique = `${basename(scratch.path)}-${deed.name}`;
    const library = buildHostile({ ...deed, name: unique }, scratch.at("libraries"));
    const result = askAlone(library);
    expect([0, 3]).toContain(result.status); // as the table knows the version or not
    expect(reasonOf(result)).toMatch(
      typeof reason === "string" ? `${library}: not probed: ${reason}` : reason,
    );
    const [report] = documentOf(result).tls ?? [];
    expect(report?.fields.SSL_ST_RBIO).toMatchObject({ value: 16, evidence: { code: [16], table: [16] } });
    expect(report?.fields.SSL_ST_SESSION).toMatchObject({
      value: 2328,
      evidence: { code: [2328], table: [2328] },
    });
    expect(result.stderr).toBe("");
    expect({ files: readdirSync(scratch.at("open")), connections }).toEqual({ files: [], connections: 0 });
    expect(result.left).toBe(0);
    // Nor does the kernel log a line of the child: it would name the file that faulted, or audit's the executable.
    const log = run(["dmesg"]).stdout;
    for (const name of [basename(library), executable]) expect(log).not.toContain(name);
  });
});

describe("who could have written it", () => {
  /** How often the child was started. */
  const children = (...command: string[]): number =>
    run(["strace", "-f", "-e", "trace=execve", ...command]).stderr.split('"@child", "isolate"').length - 1;

  test("a library in a folder where all may write is not executed, unless it is named", () => {
    const library = buildHostile(leavesWith(77), scratch.at("open"));
    const advice = `--trust ${library} has it executed all the same`;
    const unsafe = `${scratch.at("open")} can be written by group or others; take that from them (chmod go-w)`;
    expect(reasonOf(ask(library))).toBe(`${library}: not probed: ${unsafe}; ${advice}`);
    expect(children(executable, "tls", library)).toBe(0);
    const executed = `${library}: not probed: it ended with 77 and without an answer`;
    expect(reasonOf(ask(library, "--trust", library))).toBe(executed);
    expect(reasonOf(ask(library, `--trust=/nowhere,${library}`))).toBe(executed);
    expect(children(executable, "tls", library, "--trust", library)).toBe(1);
    expect(reasonOf(ask(library, "--trust", scratch.at("open")))).toContain(unsafe);
    for (const name of readdirSync(scratch.at("open"))) run(["rm", `${scratch.at("open")}/${name}`]);
  });

  test("somebody's own library: executed for him, not for root", () => {
    const library = buildHostile(leavesWith(78), scratch.at("theirs"));
    copyFileSync(executable, scratch.at("offsetof"));
    chmodSync(scratch.at("offsetof"), 0o755);
    for (const path of [scratch.at("theirs"), library]) chownSync(path, 1234, 1234);
    expect(reasonOf(ask(library))).toContain(`belongs to user 1234; it must belong to root (chown)`);
    const asThem = ["setpriv", "--reuid=1234", "--regid=1234", "--clear-groups"];
    const theirs = run([...asThem, scratch.at("offsetof"), "tls", library]);
    expect(reasonOf(theirs)).toBe(`${library}: not probed: it ended with 78 and without an answer`);
  });
});

/**
 * Libraries of root's own that need one of another user's: built so that the folder or the link where it is looked for is that
 * user's. Each had that user's code executed.
 */
describe("what a library needs is held to the same", () => {
  /** Fresh folders of root's and of somebody's. */
  function folders() {
    const top = mkdtempSync(scratch.at("needs-"));
    const [ours, theirs] = ["ours", "theirs"].map((name) => join(top, name)) as [string, string];
    for (const each of [ours, theirs]) mkdirSync(each);
    for (const each of [top, ours, theirs]) chmodSync(each, 0o755);
    return { ours, theirs };
  }
  const give = (...paths: string[]): void => {
    for (const path of paths) chownSync(path, 1234, 1234);
  };
  const soname = "libbuild.so.1";
  const foreign = leavesWith(77);
  const executed = "it ended with 77 and without an answer";
  const belongs = (path: string): string => `${path} belongs to user 1234; it must belong to root (chown)`;
  const looked = (at: string): string => `needs ${soname}, which is looked for at ${at}`;
  const allowing = (path: string): string => `; --trust ${path} has it looked for there all the same`;

  test.each<[name: string, (folder: string, library: string) => string[]]>([
    ["RUNPATH", (folder, library) => [`-Wl,--enable-new-dtags,-rpath,${folder}`, library]],
    ["RPATH", (folder, library) => [`-Wl,--disable-new-dtags,-rpath,${folder}`, library]],
    ["RUNPATH with $ORIGIN", (_, library) => ["-Wl,-rpath,$ORIGIN/../theirs", library]],
    ["DT_FILTER", (folder) => [`-Wl,-rpath,${folder}`, "-Wl,-F,libbuild.so.1"]],
    ["DT_AUXILIARY", (folder) => [`-Wl,-rpath,${folder}`, "-Wl,-f,libbuild.so.1"]],
  ])("by %s", (_, flags) => {
    const { ours, theirs } = folders();
    const needed = buildNeeded(soname, foreign, theirs);
    const library = buildHarmless("libssl.so.9", ours, ...flags(theirs, needed));
    give(theirs, needed);
    const at = flags(theirs, needed).some((flag) => flag.includes("ORIGIN"))
      ? `${ours}/../theirs/${soname}`
      : needed;
    const told = `it ${looked(at)}: ${belongs(theirs)}${allowing(theirs)}`;
    expect(reasonOf(ask(library))).toBe(`${library}: not probed: ${told}`);
    // It is that file which is executed: to look in the folder is not enough.
    expect(reasonOf(ask(library, "--trust", theirs))).toBe(
      `${library}: not probed: it needs ${soname}: ${belongs(needed)}; --trust ${needed} has it executed all the same`,
    );
    expect(reasonOf(ask(library, "--trust", needed))).toBe(`${library}: not probed: ${executed}`);
  });

  test("by an RPATH that holds for what is needed further on", () => {
    const { ours, theirs } = folders();
    const needed = buildNeeded(soname, foreign, theirs);
    const middle = buildNeeded("libmiddle.so.1", leavesWith(76), ours, needed);
    const rpath = `-Wl,--disable-new-dtags,-rpath,${ours}:${theirs}`;
    const library = buildHarmless("libssl.so.9", ours, rpath, middle);
    give(theirs, needed);
    const told = `${middle} ${looked(needed)}: ${belongs(theirs)}${allowing(theirs)}`;
    expect(reasonOf(ask(library))).toBe(`${library}: not probed: ${told}`);
  });

  test("by the dynamic linker's cache", () => {
    const { ours, theirs } = folders();
    const needed = buildNeeded(soname, foreign, theirs);
    const library = buildHarmless("libssl.so.9", ours, needed);
    const cache = join(ours, "ld.so.cache");
    run(["ldconfig", "-C", cache, theirs]);
    give(theirs, needed);
    const script = `mount --bind ${cache} /etc/ld.so.cache && exec "$@"`;
    const result = run(["unshare", "--mount", "sh", "-c", script, "sh", executable, "tls", library]);
    const told = `it ${looked(needed)}: ${belongs(theirs)}${allowing(theirs)}`;
    expect(reasonOf(result)).toBe(`${library}: not probed: ${told}`);
    chownSync(cache, 1234, 1234);
    const theirCache = run(["unshare", "--mount", "sh", "-c", script, "sh", executable, "tls", library]);
    expect(reasonOf(theirCache)).toBe(
      `${library}: not probed: ${belongs("/etc/ld.so.cache")}; --trust /etc/ld.so.cache has it asked all the same`,
    );
  });

  test("in a folder where all may put it, though it is found in the next", () => {
    const { ours, theirs: open } = folders();
    const needed = buildNeeded(soname, foreign, ours);
    chmodSync(open, 0o1777);
    const library = buildHarmless("libssl.so.9", ours, `-Wl,-rpath,${open}/none:${ours}`, needed);
    const at = `${open}/none/${soname}`;
    const told = `it ${looked(at)}: ${open} can be added to by group or others${allowing(open)}`;
    expect(reasonOf(ask(library))).toBe(`${library}: not probed: ${told}`);
    expect(reasonOf(ask(library, "--trust", open))).toBe(`${library}: not probed: ${executed}`);
  });

  test("by another user's link, wherever it leads", () => {
    const { ours, theirs } = folders();
    const needed = buildNeeded(soname, foreign, ours);
    symlinkSync(ours, join(theirs, "link"));
    symlinkSync(join(theirs, "link"), join(ours, "hop"));
    const library = buildHarmless("libssl.so.9", ours, `-Wl,-rpath,${ours}/hop`, needed);
    give(theirs);
    const told = `it ${looked(`${ours}/hop/${soname}`)}: ${belongs(theirs)}${allowing(theirs)}`;
    expect(reasonOf(ask(library))).toBe(`${library}: not probed: ${told}`);
  });

  test("where nobody can tell what is found, nothing is executed", () => {
    const { ours } = folders();
    const reason = (...flags: string[]) => {
      const library = buildHarmless("libssl.so.9", ours, ...flags);
      return reasonOf(ask(library))?.replace(`${library}: not probed: `, "");
    };
    const needed = buildNeeded(soname, foreign, ours);
    expect(reason(needed)).toBe(`it needs ${soname}, which is not found`);
    expect(reason(needed, `-Wl,-rpath,lib:${ours}`)).toBe(
      `it needs ${soname}, and where "lib" is cannot be told`,
    );
    expect(reason(buildAnonymous(ours))).toBe(`it needs ${ours}/anonymous.so by a path, not by a name`);
    const other = buildNeeded("libother.so.1", foreign, ours);
    run(["cp", other, needed]);
    expect(reason("-Wl,-rpath,$ORIGIN", `-Wl,-F,${soname}`)).toBe(
      `it needs ${soname}, but ${needed} gives itself another name`,
    );
    buildHarmless("libssl.so.9", ours);
    const circle = buildNeeded(soname, foreign, ours, join(ours, "libssl.so.9"));
    expect(reason("-Wl,-rpath,$ORIGIN", circle)).toBe(`${circle} needs libssl.so.9, which needs it in turn`);
  });

  test("of root's own all is loaded by descriptor, in order, also in a tree of its own", async () => {
    const { ours } = folders();
    const folder = join(ours, "tree/usr/lib");
    const needed = buildNeeded(soname, foreign, folder);
    // A constructor runs behind those of what its library needs: this one is never reached.
    const middle = buildNeeded("libmiddle.so.1", leavesWith(76), folder, needed);
    const library = buildHarmless("libssl.so.9", folder, middle);
    for (const each of ["tree", "tree/usr", "tree/usr/lib"]) chmodSync(join(ours, each), 0o755);
    const lacking = "it needs libmiddle.so.1, which is not found";
    expect(reasonOf(ask(library))).toBe(`${library}: not probed: ${lacking}`);
    // In its own tree the linker finds what it does not find in this machine's.
    const script = 'chroot($ARGV[0]) or die; chdir("/"); $| = 1; print "ready"; sleep(600)';
    const process = Bun.spawn(["perl", "-e", script, join(ours, "tree")], { stdout: "pipe" });
    try {
      await process.stdout.getReader().read();
      const inside = `/proc/${process.pid}/root/usr/lib/libssl.so.9`;
      expect(reasonOf(ask(inside))).toBe(`${inside}: not probed: ${executed}`);
      give(needed);
      const there = `/proc/${process.pid}/root/usr/lib/${soname}`;
      const told = `${belongs(there)}; --trust ${there} has it executed all the same`;
      const by = "libmiddle.so.1 needs libbuild.so.1";
      expect(reasonOf(ask(inside))).toBe(
        `${inside}: not probed: /proc/${process.pid}/root/usr/lib/${by}: ${told}`,
      );
    } finally {
      process.kill();
      await process.exited;
    }
  });

  test("a variant for newer processors, which the linker would take first, is not loaded", () => {
    const { ours } = folders();
    const needed = buildNeeded(soname, foreign, ours);
    const library = buildHarmless("libssl.so.9", ours, "-Wl,-rpath,$ORIGIN", needed);
    for (const level of ["x86-64-v2", "x86-64-v3", "x86-64-v4"]) {
      const folder = join(ours, "glibc-hwcaps", level);
      buildNeeded(soname, leavesWith(78), folder);
      give(folder, join(folder, soname));
    }
    expect(reasonOf(ask(library))).toBe(`${library}: not probed: ${executed}`);
  });

  test.each<[name: string, open: (folder: string) => void]>([
    ["its group", (folder) => chmodSync(folder, 0o775)],
    [
      "one user by an ACL",
      (folder) => {
        // system.posix_acl_access (linux/posix_acl_xattr.h): user::rwx user:1234:rwx group::r-x mask::rwx other::r-x
        const set = process.arch === "arm64" ? 5 : 188;
        const script = `my $acl = pack("V", 2) . pack("vvV" x 5, 1,7,~0, 2,7,1234, 4,5,~0, 16,7,~0, 32,5,~0); my $name = "system.posix_acl_access"; syscall(${set}, $ARGV[0], $name, $acl, length $acl, 0) == 0 or die $!`;
        const { status, stderr } = run(["perl", "-e", script, folder]);
        expect({ status, stderr }).toEqual({ status: 0, stderr: "" });
      },
    ],
  ])("where a folder may be written to by %s", (_, open) => {
    const { ours } = folders();
    const needed = buildNeeded(soname, foreign, join(ours, "open"));
    const library = buildHarmless("libssl.so.9", ours, `-Wl,-rpath,${ours}/open`, needed);
    open(join(ours, "open"));
    const told = `${ours}/open can be written by group or others; take that from them (chmod go-w)`;
    expect(reasonOf(ask(library))).toBe(
      `${library}: not probed: it ${looked(needed)}: ${told}${allowing(join(ours, "open"))}`,
    );
  });

  test("what a name leads to is what is loaded, however often it is changed meanwhile", async () => {
    const { ours, theirs } = folders();
    const fake = buildHostile(leavesWith(78), theirs);
    const real = buildHostile(leavesWith(77), ours);
    give(theirs, fake);
    const script = `chdir($ARGV[0]); $| = 1; print "ready"; for (;;) { for my $to (@ARGV[1,2]) { symlink($to, "next"); rename("next", "link") } }`;
    symlinkSync(real, join(theirs, "link"));
    const user = ["setpriv", "--reuid=1234", "--regid=1234", "--clear-groups"];
    const swapper = Bun.spawn([...user, "perl", "-e", script, theirs, real, fake], { stdout: "pipe" });
    try {
      await swapper.stdout.getReader().read();
      const told = Array.from({ length: 10 }, () => reasonOf(ask(join(theirs, "link"))) ?? "");
      for (const reason of told)
        expect(reason).toMatch(/it ended with 77 and|belongs to user 1234|another file/);
    } finally {
      swapper.kill();
      await swapper.exited;
    }
  });

  test("a library's own audit libraries are not heeded", () => {
    const { ours, theirs } = folders();
    const auditor = buildNeeded("libaudit.so.9", foreign, theirs);
    const flags = [`-Wl,--audit=${auditor}`, `-Wl,--depaudit=${auditor}`];
    const library = buildHarmless("libssl.so.9", ours, ...flags);
    expect(run(["readelf", "-d", library]).stdout).toMatch(/\((?:DEP)?AUDIT\)/);
    expect(reasonOf(ask(library))).not.toContain(executed);
  });

  test("owners prove nothing in a file system that is mounted with nosuid", () => {
    const { ours } = folders();
    const library = buildHostile(foreign, scratch.at("libraries"));
    const at = (name: string) => join(ours, name);
    const script = `mount -t tmpfs tmpfs ${ours} && mkdir ${at("upper")} ${at("work")} ${at("image")} && chmod 755 ${ours} ${at("image")} && mount -t overlay -o nosuid,lowerdir=${scratch.at("libraries")},upperdir=${at("upper")},workdir=${at("work")} overlay ${at("image")} && exec "$@"`;
    const inside = at(`image/${basename(library)}`);
    const mounted = ["unshare", "--mount", "sh", "-c", script, "sh", executable, "tls", inside];
    const told = `${inside} lies in a file system that is mounted with nosuid, where owners prove nothing`;
    expect(reasonOf(run(mounted))).toBe(
      `${inside}: not probed: ${told}; --trust ${inside} has it executed all the same`,
    );
    expect(reasonOf(run([...mounted, "--trust", inside]))).toBe(`${inside}: not probed: ${executed}`);
    // What the kernel keeps in memory began empty.
    const inMemory = `mount -t tmpfs -o nosuid,mode=755 tmpfs ${ours} && cp ${library} ${at("copy.so")} && exec "$@"`;
    const copy = run(["unshare", "--mount", "sh", "-c", inMemory, "sh", executable, "tls", at("copy.so")]);
    expect(reasonOf(copy)).toBe(`${at("copy.so")}: not probed: ${executed}`);
  });
});

/** Code that no constructor has to be called for, by the system call fork(2) itself: in a resolver nothing is linked yet. */
const forks = `
  static long number(long call, long argument) { long r; asm volatile("syscall" : "=a"(r) : "a"(call), "D"(argument) : "rcx", "r11", "memory"); return r; }
  static void act(void) { long pid = number(SYS_fork, 0); number(SYS_exit_group, pid < 0 ? -pid : 99); }`;

test.skipIf(process.arch !== "x64").each<[name: string, code: string, flags: string[]]>([
  [
    "the resolver of an indirect function",
    `static void *resolve(void) { act(); return 0; } void chosen(void) __attribute__((ifunc("resolve"))); void (*const use)(void) = chosen;`,
    [],
  ],
  ["DT_INIT", "void begin(void) { act(); }", ["-Wl,-init,begin"]],
  [
    "a constructor of the highest priority",
    "__attribute__((constructor(101))) static void begin(void) { act(); }",
    [],
  ],
])("%s may do no more than any code of the library", (_, code, flags) => {
  const library = buildWith("runs-early.so", forks + code, scratch.at("libraries"), ...flags);
  expect(reasonOf(ask(library))).toBe(`${library}: not probed: it ended with 1 and without an answer`);
});

test("nothing of a library runs when its process ends", () => {
  const code =
    "void end(void) { _exit(77); } __attribute__((destructor)) static void destroy(void) { _exit(78); }";
  const library = buildWith("runs-late.so", code, scratch.at("libraries"), "-Wl,-fini,end");
  expect(reasonOf(ask(library))).toStartWith(`${library}: not probed: `);
  expect(reasonOf(ask(library))).not.toMatch(/it ended with/);
});

test("a library sees no environment: not the caller's, nor that of a process which uses it", () => {
  const code = "extern char **environ; return environ && environ[0] ? 41 : 40;";
  const library = buildHostile({ name: "tells its environment", code }, scratch.at("libraries"));
  const env = {
    LD_LIBRARY_PATH: scratch.at("open"),
    LD_BIND_NOW: "1",
    GLIBC_TUNABLES: "glibc.malloc.check=3",
    OPENSSL_CONF: scratch.at("open/openssl.cnf"),
    SSLKEYLOGFILE: scratch.at("open/keys"),
  };
  const result = run([executable, "tls", library], { env });
  expect(reasonOf(result)).toBe(`${library}: not probed: it ended with 40 and without an answer`);
  expect(readdirSync(scratch.at("open"))).toEqual([]);
});

describe("what another user has mapped beside the machine's libssl takes nothing from it", () => {
  const folder = "/usr/lib/x86_64-linux-gnu";
  const machines = realpathSync(`${folder}/libssl.so.3`);
  const told = (...flags: string[]) => {
    const { tls = [] } = documentOf(ask(machines, ...flags));
    const [{ library, version, version_from, constants } = {}] = tls;
    return { library, version, version_from, constants };
  };

  test.each([
    ["of that user's own", 1234],
    ["of root's", 0],
  ])("a libcrypto with another version's text, %s", async (_, owner) => {
    run(["cc", "-static", "-o", scratch.at("holder"), join(repository, "test/unit/tls/holder.c")]);
    const fake = mkdtempSync(scratch.at("fake-"));
    chmodSync(fake, 0o755);
    const quiet = told();
    const bytes = readFileSync(`${folder}/libcrypto.so.3`);
    const text = /OpenSSL 3\.0\.(\d\d)/.exec(bytes.toString("latin1"));
    for (let at = bytes.indexOf(text?.[0] ?? "?"); at >= 0; at = bytes.indexOf(text?.[0] ?? "?", at + 1))
      bytes.write("OpenSSL 3.0.01", at);
    const file = join(fake, "libcrypto.so.3");
    writeFileSync(file, bytes);
    for (const path of [fake, file]) chownSync(path, owner, owner);
    const user = ["setpriv", "--reuid=1234", "--regid=1234", "--clear-groups"];
    const process = Bun.spawn([...user, scratch.at("holder"), "1", machines, file], { stdout: "pipe" });
    try {
      await process.stdout.getReader().read();
      expect(readFileSync(`/proc/${process.pid}/maps`, "utf8")).toContain(file);
      expect(told()).toEqual(quiet);
      expect(Object.values(quiet.constants ?? {}).filter((value) => value !== null).length).toBeGreaterThan(
        15,
      );
    } finally {
      process.kill();
      await process.exited;
    }
  });
});

test("what a user has of its own, deleted since, is told with the libcrypto that its process has mapped", async () => {
  run(["cc", "-static", "-o", scratch.at("holder"), join(repository, "test/unit/tls/holder.c")]);
  const theirs = mkdtempSync(scratch.at("own-"));
  const files = ["libssl.so.3", "libcrypto.so.3"].map((name) => join(theirs, name));
  for (const file of files) copyFileSync(join("/usr/lib/x86_64-linux-gnu", basename(file)), file);
  for (const path of [theirs, ...files]) chownSync(path, 1234, 1234);
  const user = ["setpriv", "--reuid=1234", "--regid=1234", "--clear-groups"];
  const process = Bun.spawn([...user, scratch.at("holder"), "1", ...files], { stdout: "pipe" });
  try {
    await process.stdout.getReader().read();
    for (const file of files) unlinkSync(file);
    const [theirs] = documentOf(run([executable, "tls", "--pid", String(process.pid)])).tls ?? [];
    const [machines] = documentOf(ask("/usr/lib/x86_64-linux-gnu/libssl.so.3")).tls ?? [];
    expect(theirs).toMatchObject({ deleted: true, version: machines?.version as string });
  } finally {
    process.kill();
    await process.exited;
  }
});

describe("less privilege", () => {
  const machines = realpathSync("/usr/lib/x86_64-linux-gnu/libssl.so.3");
  const probed = (result: Run): readonly number[] | undefined =>
    documentOf(result).tls?.find(({ path }) => path === machines)?.fields.SSL_ST_RBIO?.evidence.probe;

  test("an executable that root alone may execute probes as well", () => {
    mkdirSync(scratch.at("private"));
    copyFileSync(executable, scratch.at("private/offsetof"));
    for (const name of ["private/offsetof", "private"]) chmodSync(scratch.at(name), 0o700);
    expect(probed(run([scratch.at("private/offsetof"), "tls", machines]))).toEqual([16]);
  });

  test("an ordinary user probes, and what it executes may do no more", () => {
    copyFileSync(executable, scratch.at("offsetof"));
    chmodSync(scratch.at("offsetof"), 0o755);
    const asUser = [
      "setpriv",
      "--reuid=1234",
      "--regid=1234",
      "--clear-groups",
      scratch.at("offsetof"),
      "tls",
    ];
    expect(probed(run([...asUser, machines]))).toEqual([16]);
    const names =
      /^(?:makes a file|forks|becomes a daemon|runs a shell|connects|kills|traces|outlives its parent)$/;
    for (const deed of refusedDeeds(surroundings).filter(({ name }) => names.test(name))) {
      const library = buildHostile(deed, scratch.at("libraries"));
      const reason = `${library}: not probed: it ended with ${deed.refusal ?? 1} and without an answer`;
      expect(reasonOf(run([...asUser, library]))).toBe(reason);
    }
    expect({ files: readdirSync(scratch.at("open")), connections }).toEqual({ files: [], connections: 0 });
  });

  test("no other process of that user may look into what it executes", () => {
    copyFileSync(executable, scratch.at("offsetof"));
    chmodSync(scratch.at("offsetof"), 0o755);
    const deed = { name: "tells whether it is dumpable", code: "return 40 + prctl(PR_GET_DUMPABLE);" };
    const library = buildHostile(deed, scratch.at("libraries"));
    const user = ["setpriv", "--reuid=1234", "--regid=1234", "--clear-groups"];
    expect(reasonOf(run([...user, scratch.at("offsetof"), "tls", library]))).toBe(
      `${library}: not probed: it ended with 40 and without an answer`,
    );
  });

  test("nor may it look into the program that started it", () => {
    copyFileSync(executable, scratch.at("offsetof"));
    chmodSync(scratch.at("offsetof"), 0o755);
    const code = `
      int pid = 0, opened = 0;
      char path[64], text[4096];
      for (int up = 0; up < 2; up++) {
        pid ? sprintf(path, "/proc/%d/status", pid) : sprintf(path, "/proc/self/status");
        int fd = open(path, O_RDONLY);
        if (fd < 0) return 90;
        text[read(fd, text, sizeof text - 1)] = 0;
        close(fd);
        pid = atoi(strstr(text, "PPid:") + 5);
        sprintf(path, "/proc/%d/mem", pid);
        if (open(path, O_RDONLY) >= 0) opened |= 1 << up;
      }
      return 40 + opened;`;
    const library = buildHostile({ name: "looks into its parents", code }, scratch.at("libraries"));
    const user = ["setpriv", "--reuid=1234", "--regid=1234", "--clear-groups"];
    expect(reasonOf(run([...user, scratch.at("offsetof"), "tls", library]))).toBe(
      `${library}: not probed: it ended with 40 and without an answer`,
    );
  });

  test.each([
    ["a user namespace without another user", ["unshare", "--user", "--map-root-user"]],
    ["a hard limit of 30 files", ["prlimit", "--nofile=30:30"]],
  ])(
    "in %s it probes, and what it executes may do no more",
    (_, command) => {
      expect(probed(run([...command, executable, "tls", machines]))).toEqual([16]);
      const names =
        /^(?:makes a file|forks|runs a shell|connects|kills|outlives its parent|makes a user namespace)$/;
      for (const deed of refusedDeeds(surroundings).filter(({ name }) => names.test(name))) {
        const library = buildHostile(deed, scratch.at("libraries"));
        const reason = `${library}: not probed: it ended with ${deed.refusal ?? 1} and without an answer`;
        expect(reasonOf(run([...command, executable, "tls", library]))).toBe(reason);
      }
      const code = `FILE *f = fopen("/proc/self/status", "r"); char line[256]; int bits = 0; while (fgets(line, 256, f)) if (!strncmp(line, "CapEff:", 7) || !strncmp(line, "CapPrm:", 7)) bits |= strtoull(line + 7, 0, 16) != 0; return 40 + bits;`;
      const library = buildHostile({ name: "tells its capabilities", code }, scratch.at("libraries"));
      expect(reasonOf(run([...command, executable, "tls", library]))).toContain("it ended with 40 and");
      expect({ files: readdirSync(scratch.at("open")), connections }).toEqual({ files: [], connections: 0 });
    },
    60_000,
  );

  test("a user whose executable has capabilities of its own hands none to what it executes", () => {
    mkdirSync(scratch.at("capable"));
    const capable = scratch.at("capable/offsetof");
    copyFileSync(executable, capable);
    chmodSync(capable, 0o755);
    const set = run(["setcap", "cap_bpf,cap_perfmon,cap_net_admin,cap_sys_admin,cap_sys_ptrace=ep", capable]);
    expect(set.stderr).toBe("");
    const code = `FILE *f = fopen("/proc/self/status", "r"); char line[256]; int bits = 0; while (fgets(line, 256, f)) if (!strncmp(line, "CapEff:", 7) || !strncmp(line, "CapPrm:", 7)) bits |= strtoull(line + 7, 0, 16) != 0; return 40 + bits;`;
    const library = buildHostile({ name: "tells its capabilities", code }, scratch.at("libraries"));
    const user = ["setpriv", "--reuid=1234", "--regid=1234", "--clear-groups", capable, "tls"];
    expect(reasonOf(run([...user, library]))).toContain("it ended with 40 and");
    const [deed] = refusedDeeds(surroundings).filter(({ name }) => name === "connects");
    const other = buildHostile(deed ?? leavesWith(9), scratch.at("libraries"));
    expect(reasonOf(run([...user, other]))).toContain("it ended with 1 and");
  });

  test("root that may become nobody but make no namespace, as in a container, probes", () => {
    const container = [
      "setpriv",
      "--bounding-set=-all,+setuid,+setgid",
      "--inh-caps=-all",
      executable,
      "tls",
    ];
    expect(probed(run([...container, machines]))).toEqual([16]);
    const [deed] = refusedDeeds(surroundings).filter(({ name }) => name === "connects");
    const library = buildHostile(deed ?? leavesWith(1), scratch.at("libraries"));
    expect(reasonOf(run([...container, library]))).toContain("it ended with 1 and without an answer");
    expect(connections).toBe(0);
  });

  test("root that may not become nobody executes nothing, and says why", () => {
    const bare = ["setpriv", "--bounding-set=-all", "--inh-caps=-all", executable, "tls"];
    const library = buildHostile(leavesWith(79), scratch.at("libraries"));
    expect(reasonOf(run([...bare, library]))).toBe(
      `${library}: not probed: setgroups: EPERM; needs CAP_SETGID, and a user namespace that does not deny setgroups(2)`,
    );
  });
});

describe("while foreign code runs", () => {
  const unique = basename(scratch.path);
  const library = () =>
    buildHostile({ name: `${unique}-is-there`, code: "for (;;) sleep(1000);" }, scratch.at("libraries"));
  /** The process that has the library, while the program is at it. @param stdin what the program reads */
  async function whileLoaded(
    command: readonly string[],
    act: (pid: number) => void,
    stdin = "",
  ): Promise<void> {
    const path = library();
    const program = Bun.spawn([...command, executable, "tls", path], {
      stdin: Buffer.from(stdin),
      stdout: "ignore",
      stderr: "ignore",
    });
    try {
      act(await until(() => processesThatMap(path).at(-1)));
    } finally {
      program.kill("SIGKILL");
      await program.exited;
      await until(() => processesThatMap(path).length === 0);
    }
  }

  test("every thread is of a user of its own, has no right and no way to one", () =>
    whileLoaded([], expectConfined));

  test("neither stage has an environment, and the second no descriptor but its own", () =>
    whileLoaded(["sh", "-c", 'exec 8</etc/hostname 9</etc/passwd; exec "$@"', "sh"], (pid) => {
      const parent = /^PPid:\t(\d+)$/m.exec(readFileSync(`/proc/${pid}/status`, "utf8"))?.[1];
      for (const stage of [pid, parent])
        expect(readFileSync(`/proc/${stage}/environ`, "utf8").replaceAll("\0", "")).toBe("");
      expect(openOf(pid)).toEqual([
        expect.stringMatching(/-is-there\.so$/),
        expect.stringMatching(/^socket:/),
      ]);
      expect(openOf(Number(parent)).filter((one) => /^\/etc\//.test(one))).toEqual([]);
    }));

  test("what whoever starts a child has open is handed on to neither stage", () => {
    const script = 'exec 9</etc/passwd; "$1" @child isolate $$ 1 own 600000 probe 3<"$3"; true';
    const act = (pid: number): void => {
      const parent = /^PPid:\t(\d+)$/m.exec(readFileSync(`/proc/${pid}/status`, "utf8"))?.[1];
      for (const stage of [pid, Number(parent)]) expect(openOf(stage)).not.toContain("/etc/passwd");
    };
    return whileLoaded(["sh", "-c", script, "sh"], act, JSON.stringify({ library: "openssl" }));
  });

  test("the first stage has one thread, and no way to a right", () =>
    whileLoaded([], (pid) => {
      const parent = /^PPid:\t(\d+)$/m.exec(readFileSync(`/proc/${pid}/status`, "utf8"))?.[1];
      expect(readdirSync(`/proc/${parent}/task`)).toEqual([String(parent)]);
      const status = readFileSync(`/proc/${parent}/status`, "utf8").split("\n");
      for (const line of ["NoNewPrivs:\t1", "CapInh:\t0000000000000000", "CapAmb:\t0000000000000000"])
        expect(status).toContain(line);
    }));
});

test("the way into the child is no command", () => {
  const { status, stdout, stderr } = run([executable, "@child"]);
  expect({ status, stdout }).toEqual({ status: 2, stdout: "" });
  expect(JSON.parse(stderr).message).toBe(
    '"@child" is how this program starts a part of itself; it is no command',
  );
  for (const stage of ["isolate", "work"]) {
    const foreign = run([executable, "@child", stage, "1", "0", "own", "1000", "probe"]);
    expect(foreign.stdout).not.toContain("answer");
  }
  // What no parent says is taken by no stage.
  for (const [index, wrong] of ["isolated", "-1", "1e3", "root"].entries()) {
    const words = ["isolate", "1", "0", "own", "1000", "probe"].with(index, wrong);
    expect(run([executable, "@child", ...words])).toMatchObject({ status: 2, stdout: "" });
  }
  expect(run([executable, "--help"]).stdout).not.toContain("@child");
});
