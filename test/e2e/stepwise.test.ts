import { beforeAll, describe, expect, test } from "bun:test";
import { readFileSync } from "node:fs";
import { Libbpf } from "../../ffi/libbpf.ts";
import { kernelFields } from "../../src/kernel/fields/fields.ts";
import { type Rung, stepwiseLadder } from "../../src/kernel/fields/ladder.ts";
import { Prober } from "../../src/kernel/stepwise/prober.ts";
import { stepwise } from "../../src/kernel/stepwise/stepwise.ts";
import { assetBytes } from "../../src/self/assets.ts";
import { CLASSIC } from "../lab/constants.ts";
import { truthOf } from "../lab/truth.ts";
import { documentOf, executable, run } from "./executable.ts";
import { type Held, heldBy, stillThere } from "./held.ts";

const ask = [executable, "kernel", "--strategy", "stepwise", "--format", "json"];
const hidden = [
  "unshare",
  "--mount",
  "sh",
  "-c",
  `mount -t tmpfs none /sys/kernel/btf && exec ${ask.join(" ")}`,
];

let truth: Record<string, number | null>;

beforeAll(async () => {
  const fields = kernelFields.filter(({ constant }) => CLASSIC.includes(constant));
  const offsets = await truthOf(
    "/sys/kernel/btf/vmlinux",
    fields.map(({ member }) => member),
  );
  truth = Object.fromEntries(fields.map(({ constant, member }) => [constant, offsets.get(member) ?? null]));
});

/** The classic constants of a document, all of which the guess must have told. */
function classicOf(result: ReturnType<typeof run>) {
  const { kernel } = documentOf(result);
  for (const constant of CLASSIC)
    expect(kernel?.fields[constant]?.evidence.guess).toEqual([truth[constant] ?? -1]);
  return { kernel, constants: Object.fromEntries(CLASSIC.map((each) => [each, kernel?.constants[each]])) };
}

describe("stepwise on the kernel this runs on", () => {
  test("the guess alone tells the truth, ten times of ten, one candidate an event", () => {
    for (let count = 0; count < 10; count++) {
      const { kernel, constants } = classicOf(run(hidden));
      expect(constants).toEqual(truth);
      expect(kernel).toMatchObject({ strategy: "stepwise", bytecode: "socket_stepwise", attempts: 1 });
      // At least one for each aligned place up to each round-trip time.
      expect(kernel?.events).toBeGreaterThan(((truth.offset_rtt ?? 0) + (truth.offset_rtt_var ?? 0)) / 4);
      for (const constant of CLASSIC) expect(kernel?.fields[constant]?.status).toBe("single");
    }
  });

  test("with BTF every classic constant is confirmed; run takes the flag too", () => {
    const { kernel } = classicOf(run([executable, "run", "--strategy=stepwise", "--format=json"]));
    for (const constant of CLASSIC) expect(kernel?.fields[constant]?.status).toBe("confirmed");
  });

  test("another strategy is wrong usage", () => {
    const { status, stderr } = run([executable, "kernel", "--strategy", "classic"]);
    expect(status).toBe(2);
    expect(stderr).toContain("snapshot or stepwise");
  });

  test("in a pid namespace, and beside nine other runs and a storm of received bytes, it is as good", async () => {
    // Ever new short connections on loopback: all of them receive, and so pass the probed function.
    await using server = Bun.listen({
      hostname: "127.0.0.1",
      port: 0,
      socket: { data: (socket) => void socket.end("y") },
    });
    const worker = `for (;;) { const s = await Bun.connect({ hostname: "127.0.0.1", port: ${server.port}, socket: { open: (s) => void s.write("x"), data() {} } }); s.end(); }`;
    await using storm = Bun.spawn([process.execPath, "-e", worker], { stdout: "ignore", stderr: "ignore" });
    const command = ["unshare", "--pid", "--fork", "--mount-proc", ...ask];
    const children = Array.from({ length: 10 }, () =>
      Bun.spawn(command, { stdout: "pipe", stderr: "ignore", stdin: "ignore" }),
    );
    const answers = await Promise.all(children.map((child) => new Response(child.stdout).text()));
    for (const stdout of answers) classicOf({ status: 0, stdout, stderr: "" });
    expect(storm.exitCode).toBeNull();
  });
});

describe("an attempt that fails", () => {
  const libbpf = new Libbpf(assetBytes("libbpf.so"));
  const bytecode = assetBytes("socket_stepwise.o");
  let rung: Rung;

  beforeAll(() => {
    // Which rung this machine has, the executable tells.
    const { kernel } = documentOf(run(ask));
    const found = stepwiseLadder.find(({ kind, target }) => kernel?.attached.includes(`${kind}:${target}`));
    if (found === undefined) throw new Error(`no rung of ${kernel?.attached} is known`);
    rung = found;
  });

  const guessBelow = (threshold: number, retries: number) =>
    stepwise(libbpf, bytecode, (each) => (each === rung ? null : "not in this test"), {
      threshold,
      retries,
      families: { tcpv4: true, tcpv6: true, udpv4: true, udpv6: true },
      stability: { window: 100, attempts: 20 },
    });

  test("leaves open what lies beyond the threshold, says so, and is repeated as often as asked", () => {
    const once = guessBelow(16, 0);
    const thrice = guessBelow(16, 2);
    expect(once.attempts).toBe(1);
    expect(once.limits).toEqual([]);
    expect(thrice.attempts).toBe(3);
    expect(thrice.limits).toEqual(["the stepwise strategy took 3 attempts"]);
    // Each attempt looks for everything again, but for chance hits of single bytes.
    expect(Math.abs(thrice.events - 3 * once.events)).toBeLessThan(20);
    for (const { evidence } of [once, thrice]) {
      for (const { constant, candidates, reason } of evidence) {
        if (!CLASSIC.includes(constant)) continue;
        const offset = truth[constant] ?? -1;
        const isNear = offset < 16 || ["offset_sport", "offset_rtt", "offset_rtt_var"].includes(constant);
        const expected = constant !== "offset_ino" && isNear ? [offset] : [];
        expect([constant, candidates]).toEqual([constant, expected]);
        expect(reason).toBe(expected.length === 0 ? "no offset below the threshold of 16 bytes" : undefined);
      }
    }
  });

  test("leaves no program behind and gives the thread its name back", async () => {
    const before = heldBy(process.pid);
    const ownHeld = () =>
      heldBy(process.pid).filter(({ kind, id }) => !before.some((one) => one.kind === kind && one.id === id));
    let held: readonly Held[];
    const name = readFileSync("/proc/thread-self/comm", "utf8");
    {
      using prober = new Prober(libbpf, bytecode, rung);
      expect(prober.events).toBe(0);
      held = ownHeld();
      expect(held.map(({ kind }) => kind)).toContain("prog");
      expect(readFileSync("/proc/thread-self/comm", "utf8")).not.toBe(name);
    }
    guessBelow(16, 1);
    expect(readFileSync("/proc/thread-self/comm", "utf8")).toBe(name);
    expect(ownHeld()).toEqual([]);
    expect(await stillThere(held)).toEqual([]);
  });

  test("a socket that the rung never passes over is an error, not a value", () => {
    using prober = new Prober(libbpf, bytecode, rung);
    expect(() => prober.ask({ subject: 0, width: 4, offset: 0 }, () => {})).toThrow("did not fire");
    expect(prober.events).toBe(0);
  });
});
