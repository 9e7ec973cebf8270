import { beforeAll, describe, expect, test } from "bun:test";
import { readdirSync, readFileSync, readlinkSync } from "node:fs";
import { kernelFields } from "../../src/kernel/fields.ts";
import { truthOf } from "../lab/truth.ts";
import { documentOf, executable, run } from "./executable.ts";

type Kernel = NonNullable<ReturnType<typeof documentOf>["kernel"]>;

const KERNEL_BTF = "/sys/kernel/btf/vmlinux";
const ask = [executable, "kernel", "--format", "json"];

describe("the kernel this runs on", () => {
  let truth: Record<string, number | null>;
  /** Fields that the guess can measure here: struct nf_conn is seen by kprobes alone. */
  let guessed: readonly { constant: string }[];

  /** That every constant is true, and every field that can be guessed here has this status. */
  function expectTruth(kernel: Kernel | undefined, status: "confirmed" | "single"): void {
    for (const [constant, value] of Object.entries(truth)) {
      const isGuessed = guessed.some((each) => each.constant === constant);
      const field = kernel?.fields[constant];
      if (isGuessed) expect(field).toMatchObject({ value, status, evidence: { guess: [value] } });
      else if (status === "confirmed") expect(field).toMatchObject({ value, status: "single" });
      else
        expect(field).toMatchObject({
          value: null,
          status: "unresolved",
          reason: expect.stringContaining("kprobe"),
        });
    }
  }

  beforeAll(async () => {
    const offsets = await truthOf(
      KERNEL_BTF,
      kernelFields.map(({ member }) => member),
    );
    truth = Object.fromEntries(
      kernelFields.map(({ constant, member }) => [constant, offsets.get(member) ?? null]),
    );
    const { host } = documentOf(run(ask));
    guessed = kernelFields.filter(({ struct }) => struct !== "nf_conn" || host.kprobes === true);
  }, 60_000);

  test("every constant is confirmed and true", () => {
    const { kernel } = documentOf(run(ask));
    expectTruth(kernel, "confirmed");
    expect(kernel?.constants).toMatchObject({
      fl4_offsets: 1,
      fl6_offsets: 1,
      tcpv6_enabled: 1,
      udpv6_enabled: 1,
    });
    expect(kernel?.events).toBeLessThanOrEqual(60);
  });

  test("without BTF the guess alone gives the same numbers, twenty times of twenty", () => {
    // In a mount namespace of its own, with an empty folder where the kernel's BTF is.
    const hidden = [
      "unshare",
      "--mount",
      "sh",
      "-c",
      `mount -t tmpfs none /sys/kernel/btf && exec ${ask.join(" ")}`,
    ];
    for (let count = 0; count < 20; count++) {
      const { kernel, host } = documentOf(run(hidden));
      expect(host.btf).toBe(false);
      expectTruth(kernel, "single");
    }
  }, 60_000);

  test("in a pid namespace of its own the guess is as good", () => {
    const { kernel } = documentOf(run(["unshare", "--pid", "--fork", "--mount-proc", ...ask]));
    expectTruth(kernel, "confirmed");
  });

  test("twenty runs at the same time all tell the truth", async () => {
    const children = Array.from({ length: 20 }, () =>
      Bun.spawn(ask, { stdout: "pipe", stderr: "pipe", stdin: "ignore" }),
    );
    const answers = await Promise.all(children.map((child) => new Response(child.stdout).text()));
    for (const stdout of answers) {
      const { kernel } = documentOf({ status: 0, stdout, stderr: "" });
      expectTruth(kernel, "confirmed");
    }
  }, 60_000);

  test("other processes' connections do not mix in", async () => {
    // Thousands of short connections and datagrams on loopback, all through the probed functions.
    await using server = Bun.listen({
      hostname: "127.0.0.1",
      port: 0,
      socket: { data: (socket) => void socket.end() },
    });
    const client = `{ hostname: "127.0.0.1", port: ${server.port}, socket: { open: (s) => void s.write("x"), data() {} } }`;
    const datagram = `udp.send("x", ${server.port}, "127.0.0.1")`;
    const worker = `const udp = await Bun.udpSocket({}); for (;;) { (await Bun.connect(${client})).end(); ${datagram}; }`;
    await using storm = Bun.spawn([process.execPath, "-e", worker], { stdout: "ignore", stderr: "ignore" });
    for (let count = 0; count < 20; count++) {
      const child = Bun.spawn(ask, { stdout: "pipe", stdin: "ignore" });
      const { kernel } = documentOf({
        status: 0,
        stdout: await new Response(child.stdout).text(),
        stderr: "",
      });
      expectTruth(kernel, "confirmed");
    }
    expect(storm.exitCode).toBeNull();
  }, 60_000);
});

/** What could outlive a run, as other tools list it. */
function leftovers() {
  const listed = (what: string) =>
    run(["bpftool", what, "list"]).stdout.replaceAll(/\b(pids|loaded_at).*/g, "");
  return {
    programs: listed("prog"),
    maps: listed("map"),
    links: listed("link"),
    namespaces: run(["lsns", "-t", "net", "-n", "-o", "NS"]).stdout,
    mounts: readFileSync("/proc/self/mounts", "utf8"),
    log: run(["dmesg"]).stdout.split("\n").at(-2),
  };
}

/** Waits until `settled` holds: the kernel frees programs, maps and namespaces some time after their last user is gone. */
async function eventually(settled: () => boolean): Promise<void> {
  for (let wait = 0; wait < 100 && !settled(); wait++) await Bun.sleep(100);
  expect(settled()).toBe(true);
}

/** How many network namespaces the kernel has, those included that no tool lists because no process is in them. */
const livingNamespaces = () =>
  Number(/^net_namespace\s+(\d+)/m.exec(readFileSync("/proc/slabinfo", "utf8"))?.[1]);

/** Where temporary files may be made. */
const temporary = ["/tmp", "/var/tmp", "/dev/shm", "/run"];
/** Shell commands after which the executable is /mnt/offsetof, and those folders are empty. */
const inEmptyFolders = [
  "mount -t tmpfs none /mnt",
  `cp ${executable} /mnt/offsetof`,
  ...temporary.map((folder) => `mount -t tmpfs none ${folder}`),
].join(" && ");
const findFiles = `find ${temporary.join(" ")} -mindepth 1`;

/** Waits until the kernel has freed what earlier runs had. */
const othersAreGone = () => eventually(() => !leftovers().programs.includes("sock_set_state"));

describe("after a run", () => {
  test("nothing is left: no program, map, link, namespace, mount or line in the kernel's log", async () => {
    await othersAreGone();
    const before = leftovers();
    expect(run(ask).status).toBe(0);
    await eventually(() => Bun.deepEquals(leftovers(), before));
  }, 30_000);

  test("no file is left in any folder for temporary files", () => {
    const script = `${inEmptyFolders} && /mnt/offsetof && ${findFiles} >&2`;
    const inside = run(["unshare", "--mount", "sh", "-c", script]);
    expect(documentOf(inside).kernel?.events).toBeGreaterThan(0);
    expect(inside.stderr).toBe("");
  });

  test("the kernel frees the network namespaces, which no tool lists once no process is in them", async () => {
    expect(livingNamespaces()).toBeGreaterThan(0);
    const before = livingNamespaces();
    const RUNS = 20; // of two namespaces each
    for (let count = 0; count < RUNS; count++) run(ask);
    await eventually(() => livingNamespaces() <= before + RUNS / 2);
  }, 60_000);
});

describe("after SIGKILL", () => {
  const RUNS = 200;

  /** Stops a process and tells which eBPF programs, maps and links its descriptors hold. */
  async function holdings(pid: number): Promise<Set<string>> {
    process.kill(pid, "SIGSTOP");
    const isStopped = () => /\) [TZ] /.test(readFileSync(`/proc/${pid}/stat`, "utf8"));
    while (!isStopped()) await Bun.sleep(0);
    const files = readdirSync(`/proc/${pid}/fd`).map((fd) => readlinkSync(`/proc/${pid}/fd/${fd}`));
    return new Set(files.flatMap((file) => /^anon_inode:(bpf[-_]\w+)/.exec(file)?.slice(1) ?? []));
  }

  test(`at ${RUNS} random moments nothing is left, not even a file`, async () => {
    await using holder = Bun.spawn(
      ["unshare", "--mount", "sh", "-c", `${inEmptyFolders} && echo ready && exec sleep 600`],
      { stdout: "pipe", stdin: "ignore" },
    );
    expect((await holder.stdout.getReader().read()).done).toBe(false);
    const inside = ["nsenter", `--mount=/proc/${holder.pid}/ns/mnt`];
    const command = [...inside, "/mnt/offsetof", "kernel", "--format", "json"];
    const durations = Array.from({ length: 5 }, () => {
      const started = performance.now();
      run(command);
      return performance.now() - started;
    });
    const whole = Math.min(...durations);

    await othersAreGone();
    const [before, living] = [leftovers(), livingNamespaces()];
    const held = new Map<string, number>();
    let killed = 0;
    for (let count = 0; count < RUNS; count++) {
      const child = Bun.spawn(command, { stdout: "ignore", stderr: "ignore", stdin: "ignore" });
      await Bun.sleep(Math.random() * whole);
      if (count % 2 === 0 && child.exitCode === null) {
        for (const kind of await holdings(child.pid)) held.set(kind, (held.get(kind) ?? 0) + 1);
      }
      child.kill("SIGKILL");
      await child.exited;
      if (child.signalCode === "SIGKILL") killed++;
    }
    // They died at many stages, also with everything in their hands.
    expect(killed).toBeGreaterThan(RUNS / 4);
    for (const kind of ["bpf-prog", "bpf-map", "bpf_link"]) expect(held.get(kind)).toBeGreaterThan(0);

    await eventually(() => livingNamespaces() <= living + RUNS / 10);
    await eventually(() => Bun.deepEquals(leftovers(), before)).catch(() =>
      expect(leftovers()).toEqual(before),
    );
    expect(run([...inside, "sh", "-c", findFiles])).toEqual({ status: 0, stdout: "", stderr: "" });
    holder.kill();
  }, 120_000);
});
