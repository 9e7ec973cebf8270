import { beforeAll, describe, expect, test } from "bun:test";
import { copyFileSync, readFileSync } from "node:fs";
import { kernelFields } from "../../src/kernel/fields/fields.ts";
import { truthOf } from "../lab/truth.ts";
import { until } from "../until.ts";
import { documentOf, executable, run, Scratch } from "./executable.ts";
import { type Held, heldBy, heldDuring, stillThere } from "./held.ts";

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
  });

  test("every constant is confirmed and true", () => {
    const { kernel } = documentOf(run(ask));
    expectTruth(kernel, "confirmed");
    expect(kernel?.constants).toMatchObject({
      fl4_offsets: 1,
      fl6_offsets: 1,
      tcpv6_enabled: 1,
      udpv6_enabled: 1,
    });
    // Around 60; a dead namespace whose number came again costs a third one and a few more (docs/design/guess.md).
    expect(kernel?.events).toBeLessThanOrEqual(120 * (kernel?.attempts ?? 1));
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
  });

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
  });

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
  });
});

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

describe("after a run", () => {
  test("nothing is left: no program, map, link, process, mount or line in the kernel's log", async () => {
    // Others load programs here too: this one has a name of its own, and a mount namespace.
    using scratch = new Scratch();
    const name = `of-${process.pid}`;
    copyFileSync(executable, scratch.at(name));
    const held = await heldDuring([scratch.at(name), "kernel"]);
    expect(held.map(({ kind }) => kind)).toContain("prog");
    expect(await stillThere(held)).toEqual([]);

    const mounts = `cat /proc/self/mounts > ${scratch.path}`;
    const script = `${mounts}/before && ${scratch.at(name)} kernel > /dev/null; ${mounts}/after`;
    expect(run(["unshare", "--mount", "sh", "-c", script]).status).toBe(0);
    expect(readFileSync(scratch.at("after"), "utf8")).toBe(readFileSync(scratch.at("before"), "utf8"));

    expect(run(["pgrep", "--exact", name]).stdout).toBe("");
    expect(run(["dmesg"]).stdout).not.toContain(name);
  });

  test("no file is left in any folder for temporary files", () => {
    const script = `${inEmptyFolders} && /mnt/offsetof && ${findFiles} >&2`;
    const inside = run(["unshare", "--mount", "sh", "-c", script]);
    expect(documentOf(inside).kernel?.events).toBeGreaterThan(0);
    expect(inside.stderr).toBe("");
  });

  test("the kernel frees the network namespaces, which no tool lists once no process is in them", async () => {
    expect(livingNamespaces()).toBeGreaterThan(0);
    const before = livingNamespaces();
    const RUNS = 30; // of two namespaces each; others, which make some meanwhile, do not keep that many
    for (let count = 0; count < RUNS; count++) run(ask);
    await until(() => livingNamespaces() <= before + RUNS);
  });
});

describe("after SIGKILL", () => {
  const RUNS = 200;

  /** Stops a process and tells which eBPF programs, maps and links it holds. */
  async function holdings(pid: number): Promise<readonly Held[]> {
    process.kill(pid, "SIGSTOP");
    const isStopped = () => /\) [TZ] /.test(readFileSync(`/proc/${pid}/stat`, "utf8"));
    while (!isStopped()) await Bun.sleep(0);
    return heldBy(pid);
  }

  test(`at ${RUNS} random moments nothing is left, not even a file`, async () => {
    await using holder = Bun.spawn(
      ["unshare", "--mount", "sh", "-c", `${inEmptyFolders} && echo ready && exec sleep 3600`],
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

    const living = livingNamespaces();
    const held: Held[] = [];
    let killed = 0;
    for (let count = 0; count < RUNS; count++) {
      const child = Bun.spawn(command, { stdout: "ignore", stderr: "ignore", stdin: "ignore" });
      await Bun.sleep(Math.random() * whole);
      if (child.exitCode === null) held.push(...(await holdings(child.pid)));
      child.kill("SIGKILL");
      await child.exited;
      if (child.signalCode === "SIGKILL") killed++;
    }
    // They died at many stages, also with everything in their hands.
    expect(killed).toBeGreaterThan(RUNS / 4);
    expect(held.map(({ kind }) => kind)).toEqual(expect.arrayContaining(["prog", "map", "link"]));

    await until(() => livingNamespaces() <= living + RUNS / 2);
    expect(await stillThere(held)).toEqual([]);
    expect(run([...inside, "sh", "-c", findFiles])).toEqual({ status: 0, stdout: "", stderr: "" });
    holder.kill();
  });
});
