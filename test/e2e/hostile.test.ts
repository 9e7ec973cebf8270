/** Libraries that do harm when they are loaded, asked of the executable: what the child does is in test/unit/tls/child.test.ts. */
import { afterAll, describe, expect, test } from "bun:test";
import { chmodSync, chownSync, copyFileSync, mkdirSync, readdirSync, realpathSync } from "node:fs";
import { basename } from "node:path";
import { buildHostile, type Deed, refusedDeeds } from "../hostile.ts";
import { documentOf, executable, type Run, run, Scratch } from "./executable.ts";

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

describe("code and table answer, the reason is told, and nothing is done", () => {
  const names = ["makes a file", "becomes a daemon", "connects", "runs a shell"];
  const refused = refusedDeeds(surroundings)
    .filter(({ name }) => names.includes(name))
    .map((deed) => ({ ...deed, reason: "it ended with 1 and without an answer" }));
  test.each([
    ...refused,
    { name: "sleeps", code: "for (;;) sleep(1000);", reason: "not done after 5000 ms" },
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
    expect(reasonOf(result)).toBe(`${library}: not probed: ${reason}`);
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

test("the way into the child is no command", () => {
  const { status, stdout, stderr } = run([executable, "@child"]);
  expect({ status, stdout }).toEqual({ status: 2, stdout: "" });
  expect(JSON.parse(stderr).message).toBe(
    '"@child" is how this program starts a part of itself; it is no command',
  );
  const foreign = run([executable, "@child", "work", "1", "0", "1000", "probe"]);
  expect(foreign.stdout).not.toContain("answer");
  expect(run([executable, "--help"]).stdout).not.toContain("@child");
});
