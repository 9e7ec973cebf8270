import { beforeAll, describe, expect, test } from "bun:test";
import * as v from "valibot";
import { verifySchema } from "../../src/output/verify-schema.ts";
import { testObject } from "../objects.ts";
import { jsonOf } from "../schema.ts";
import { documentOf, executable, type Run, run } from "./executable.ts";

/** What a cgroup's programs refuse. */
let object = "";
beforeAll(async () => {
  object = await testObject("deny.bpf.c");
}, 300_000);

/** Runs a command in a cgroup of its own that refuses this, in mounts of its own. */
function refused(hook: string, ...command: string[]): Run {
  const script = `set -e
    mount -t cgroup2 none /mnt; mount -t bpf none /sys/fs/bpf; cgroup=$(mktemp -d /mnt/offsetof-XXXXXX)
    trap 'echo $$ > /mnt/cgroup.procs; rmdir $cgroup' EXIT
    bpftool prog loadall ${object} /sys/fs/bpf/deny
    bpftool cgroup attach $cgroup ${hook} pinned /sys/fs/bpf/deny/${hook}
    echo $$ > $cgroup/cgroup.procs; "$@"`;
  return run(["unshare", "--mount", "--propagation", "private", "bash", "-c", script, "bash", ...command]);
}

const guessed = (result: Run): readonly string[] =>
  Object.entries(documentOf(result).kernel?.fields ?? {}).flatMap(([name, { evidence }]) =>
    evidence.guess === undefined ? [] : [name],
  );
const ask = [executable, "kernel", "--format", "json"];
const isOf6 = (name: string): boolean => /_ipv6$|_fl6$/.test(name);
const isOf4 = (name: string): boolean => /^offset_[sd]addr$|_fl4$/.test(name);

describe("a cgroup that refuses", () => {
  test.each([
    ["connect4", isOf4],
    ["connect6", isOf6],
    ["bind6", isOf6],
  ] as const)("%s: that family's constants alone are not guessed", (hook, isLost) => {
    const all = guessed(run(ask));
    const left = guessed(refused(hook, ...ask));
    expect(all.filter(isLost).length).toBeGreaterThan(3);
    // What one family alone shows is no address family, and none of its members.
    expect(left).toEqual(
      all.filter((name) => !isLost(name) && (name !== "offset_family" || left.includes(name))),
    );
  });

  test.each([
    ["connect4", ["offset_saddr", "offset_daddr", "offset_family"]],
    ["connect6", ["offset_daddr_ipv6", "offset_saddr_ipv6", "offset_family"]],
    ["bind6", ["offset_daddr_ipv6", "offset_saddr_ipv6", "offset_family"]],
  ] as const)("%s: stepwise loses no more", (hook, lost) => {
    const stepwise = [...ask, "--strategy", "stepwise"];
    const all = guessed(run(stepwise));
    const left = guessed(refused(hook, ...stepwise));
    expect(all.filter((name) => !left.includes(name)).sort()).toEqual([...lost].sort());
  });

  test.each([
    ["connect4", ["tcp4", "udp4"]],
    ["connect6", ["tcp6", "udp6"]],
    ["bind6", ["tcp6", "udp6"]],
  ] as const)("%s: verify says that it did not see that family, and nothing else of it", (hook, kinds) => {
    const result = refused(hook, executable, "verify", "kernel", "--format", "json");
    const { kernel } = v.parse(verifySchema, jsonOf("verify", result.stdout)).verify;
    expect(result.status).toBe(3); // its own constants are not proved
    for (const one of Object.values(kernel?.constants ?? {})) expect(one.held).toBe(one.compared);
    expect(Object.keys(kernel?.not_seen ?? {}).sort()).toEqual([...kinds]);
    for (const { reason } of Object.values(kernel?.not_seen ?? {})) expect(reason).toContain("EPERM");
    const isLost = hook === "connect4" ? isOf4 : isOf6;
    expect(kernel?.not_compared.length).toBeGreaterThan(0);
    expect(kernel?.not_compared.filter((name) => !isLost(name))).toEqual([]);
  });

  test("all packets: no wait without an end, and BTF speaks all the same", () => {
    const { kernel, diagnostics } = documentOf(refused("egress", ...ask));
    expect(kernel?.fields.offset_rtt).toMatchObject({
      status: "single",
      evidence: { btf: [expect.any(Number)] },
    });
    const told = diagnostics.find(({ code }) => code === "E_NO_GUESS");
    expect(told?.message).toContain("ETIMEDOUT; packets over loopback are dropped");
  });
});
