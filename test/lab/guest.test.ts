import { expect, test } from "bun:test";
import { asNobody, bootGuest, GuestError, guestTimeout, HIDE_BTF, SHOW_BTF, text } from "./guest.ts";
import { chosenKernels, labKernel, loadKernel } from "./kernels.ts";

/** Functions the guess attaches to, one of them in a module. */
const PROBED = ["tcp_getsockopt", "sock_common_getsockopt", "tcp_v6_connect", "ip_make_skb", "ip6_make_skb"];
const PROBED_IN_MODULE = "nf_conntrack_hash_check_insert";

for (const row of chosenKernels()) {
  test(
    `${row.name} boots, and runs commands and dynamic executables`,
    async () => {
      const kernel = await loadKernel(row);
      const commands = {
        release: "uname -r; exit 7",
        bytes: "printf '\\000\\001\\377\\n\\r\\n\\003\\004'; printf '\\032end' >&2",
        signal: "kill -9 $$",
        bun: "/opt/bun --version",
        root: "id -u; pwd; echo in root >/tmp/file; stat -c %a / /tmp /run",
        nobody: asNobody("id -u; echo \"it's\"; /opt/bun -e 'console.log(process.getuid())'; ls /absent"),
        btf: "sha256sum </sys/kernel/btf/vmlinux",
        hidden: `${HIDE_BTF}; ls -A /sys/kernel/btf`,
        shown: `${SHOW_BTF}; ls /sys/kernel/btf/vmlinux`,
        kprobes: [
          "cd /sys/kernel/tracing",
          ...[...PROBED, PROBED_IN_MODULE].map((name) => `echo p:${name} ${name} >>kprobe_events`),
          "echo 1 >events/kprobes/enable",
          "cat events/kprobes/enable",
          "wc -l <kprobe_events",
        ].join(" && "),
        package: "ldconfig && ldconfig -p | grep -c libc.so.6",
        lockdown: "cat /sys/kernel/security/lockdown",
        ipv6: "cat /proc/net/if_inet6",
      };
      const run = await bootGuest({
        kernel,
        commands: Object.values(commands),
        files: { "/opt/bun": { from: process.execPath } },
        packages: ["libc-bin"],
        modules: ["nf_conntrack_netlink"],
        mounts: ["tracefs", "securityfs", "bpf"],
        append: ["lockdown=integrity", "ipv6.disable=1"],
      });
      const names = Object.keys(commands);
      const result = (name: keyof typeof commands) => {
        const found = run.results[names.indexOf(name)];
        if (!found) throw new Error(`no result of ${name}`);
        return { ...found, out: text(found.stdout), err: text(found.stderr) };
      };

      expect(run.results.length).toBe(names.length);
      expect(result("release")).toMatchObject({ status: 7, out: `${kernel.release}\n`, err: "" });
      expect([...result("bytes").stdout]).toEqual([0, 1, 255, 10, 13, 10, 3, 4]);
      expect([...result("bytes").stderr]).toEqual([26, 101, 110, 100]);
      expect(result("signal").status).toBe(128 + 9);
      expect(result("bun")).toMatchObject({ status: 0, out: `${Bun.version}\n`, err: "" });
      expect(result("root").out).toBe("0\n/root\n755\n1777\n755\n");
      expect(result("nobody")).toMatchObject({ status: 1, out: "65534\nit's\n65534\n" });
      expect(result("btf").out).toStartWith(await sha256(kernel.btf));
      expect(result("hidden")).toMatchObject({ status: 0, out: "" });
      expect(result("shown")).toMatchObject({ status: 0, out: "/sys/kernel/btf/vmlinux\n" });
      expect(result("kprobes")).toMatchObject({ status: 0, out: `1\n${PROBED.length + 1}\n`, err: "" });
      expect(result("package")).toMatchObject({ status: 0, out: "1\n" });
      expect(result("lockdown").out).toContain("[integrity]");
      expect(result("ipv6").err).toContain("No such file");
      expect(run.bootSeconds).toBeGreaterThan(0);
    },
    guestTimeout,
  );
}

const first = chosenKernels()[0] ?? labKernel("6.1-cloud");

test(
  "a guest that dies in a command is not booted again; the error tells which command and why",
  async () => {
    const kernel = await loadKernel(first);
    const guest = bootGuest({ kernel, commands: ["true", "echo c >/proc/sysrq-trigger", "true"] });
    const error = await guest.catch((reason: unknown) => reason);
    expect(error).toBeInstanceOf(GuestError);
    expect(String(error)).toContain("boot 1, ended (QEMU's status 0) in command 1: echo c");
    // The last lines: of what came before the trace, or the trace.
    expect(String(error)).toMatch(/sysrq triggered crash|sysrq_handle_crash/);
  },
  guestTimeout,
);

test(
  "a guest that dies before its first command is booted three times, then an error",
  async () => {
    const guest = bootGuest({
      kernel: await loadKernel(first),
      commands: ["true"],
      append: ["rdinit=/bin/no"],
    });
    await expect(guest).rejects.toThrow("boot 3, ended (QEMU's status 0) before its first command");
  },
  guestTimeout,
);

test(
  "a guest that meets its deadline is killed",
  async () => {
    const options = { kernel: await loadKernel(first), commands: ["sleep 1000"], deadlineSeconds: 10 };
    await expect(bootGuest(options)).rejects.toThrow("met the deadline in command 0: sleep 1000");
  },
  guestTimeout,
);

async function sha256(path: string): Promise<string> {
  return new Bun.CryptoHasher("sha256").update(await Bun.file(path).bytes()).digest("hex");
}
