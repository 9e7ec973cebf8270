/**
 * docs/examples/ansible at work: Debian's Ansible, over ssh, against hosts that are namespaces. Only where OFFSETOF_ENGINES asks for it:
 * `apt-get install ansible-core`, then `OFFSETOF_ENGINES=ansible bun test test/engines`.
 */
import { expect, test } from "bun:test";
import { cpSync, mkdirSync, readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import * as v from "valibot";
import { loadPackage } from "../../assets/build/debian.ts";
import { mergeSchema } from "../../src/output/merge-schema.ts";
import { executable, repository, run, Scratch } from "../e2e/executable.ts";
import { TestNetwork } from "../networks.ts";
import { jsonOf } from "../schema.ts";
import { until } from "../until.ts";

const isAsked = /\bansible\b|^all$/.test(process.env.OFFSETOF_ENGINES ?? "");
const lib = "usr/lib/x86_64-linux-gnu";
const COUNT = 8;
const [OTHER, HUNG] = [7, 8];
const addressOf = (host: number): string => `10.7.0.${host}`;

/** A machine of its own with an ssh server: namespaces of networks, mounts and processes, with folders and perhaps a libssl of its own. */
function startHost(host: number, network: TestNetwork, fleet: Scratch, libraries: string | null) {
  const binds = libraries === null ? [] : ["libssl.so.3", "libcrypto.so.3"];
  const script = `set -e; mount --bind ${fleet.at("passwd")} /etc/passwd
    mkdir -p ${fleet.at(`hosts/${host}`)}
    for each in /usr/local/bin /etc/ansible /tmp; do [ -d $each ] && [ $each != /tmp ] && mount -t tmpfs tmpfs $each; done
    ${binds.map((name) => `mount --bind ${libraries}/${name} /${lib}/${name}`).join("\n")}
    exec dropbear -F -E -s -r ${fleet.at("host.key")} -p ${addressOf(host)}:22 -P ${fleet.at(`pid.${host}`)}`;
  // This machine's other processes are none of the host's.
  const own = ["unshare", "--mount", "--pid", "--fork", "--kill-child", "--mount-proc", "sh", "-c", script];
  return Bun.spawn(network.command(...own), {
    stdio: ["ignore", "ignore", Bun.file(fleet.at(`log.${host}`))],
  });
}

test.skipIf(!isAsked)(
  "eight hosts over ssh, of which one has another libssl and one hangs: the result names both",
  async () => {
    using fleet = new Scratch();
    mkdirSync(fleet.at(".ssh"), { mode: 0o700 });
    mkdirSync("/etc/ansible", { recursive: true });
    run(["dropbearkey", "-t", "ed25519", "-f", fleet.at("host.key")]);
    run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", fleet.at(".ssh/key")]);
    run(["cp", fleet.at(".ssh/key.pub"), fleet.at(".ssh/authorized_keys")]);
    writeFileSync(
      fleet.at("passwd"),
      `root:x:0:0:root:${fleet.path}:/bin/sh\nnobody:x:65534:65534::/:/bin/false\n`,
    );
    cpSync(join(repository, "docs/examples/ansible"), fleet.path, { recursive: true });
    const hosts = Array.from({ length: COUNT }, (_, index) => index + 1);
    const inventory = hosts.map((host) => `web${host} ansible_host=${addressOf(host)}`);
    writeFileSync(
      fleet.at("hosts.ini"),
      `${inventory.join("\n")}\n[all:vars]\nansible_user=root\nansible_python_interpreter=/usr/bin/python3\n`,
    );
    const ssh = `-F /dev/null -o StrictHostKeyChecking=no -o UserKnownHostsFile=/dev/null -o IdentityFile=${fleet.at(".ssh/key")}`;
    writeFileSync(
      fleet.at("ansible.cfg"),
      // dropbear has neither sftp nor scp.
      `[defaults]\ntimeout = 20\nforks = 8\nhost_key_checking = false\nremote_tmp = ${fleet.at("tmp")}\n[ssh_connection]\nssh_args = ${ssh}\ntransfer_method = piped\n`,
    );
    mkdirSync(fleet.at("answers"));

    using held = new DisposableStack();
    const hub = held.use(new TestNetwork());
    hub.ip("link add br0 type bridge", "link set br0 up", "addr add 10.7.0.254/24 dev br0");
    // Not this machine's: built from another version.
    const { root, version: full } = await loadPackage("bookworm", "libssl3");
    const [other, version] = [join(root, lib), full.replace(/-.*/, "")];
    const servers = hosts.map((host) => {
      const network = held.use(new TestNetwork());
      hub.connect(`web${host}`, network, "eth0");
      hub.ip(`link set web${host} master br0`);
      network.ip(`addr add ${addressOf(host)}/24 dev eth0`);
      const server = startHost(host, network, fleet, host === OTHER ? other : null);
      held.defer(() => server.kill("SIGKILL"));
      return server;
    });
    for (const host of hosts)
      await until(() => run(hub.command("bash", "-c", `</dev/tcp/${addressOf(host)}/22`)).status === 0);
    run(["pkill", "-STOP", "-P", `${servers[HUNG - 1]?.pid}`]);

    const command = ["ansible-playbook", "-i", "hosts.ini", "site.yml", "-e", `offsetof=${executable}`];
    const played = Bun.spawnSync(hub.command(...command), {
      cwd: fleet.path,
      env: { PATH: "/usr/sbin:/usr/bin:/sbin:/bin", HOME: fleet.path, LC_ALL: "C.UTF-8" },
    });
    const log = `${played.stdout}${played.stderr}`;
    expect(log).toMatch(new RegExp(`web${HUNG} .* failed=0 `));
    const merged = v.parse(mergeSchema, jsonOf("merge", readFileSync(fleet.at("layouts.json"), "utf8")));
    expect(merged.documents).toBe(COUNT - 1);
    expect(merged.failed.map(({ machine }) => machine)).toEqual([`web${HUNG}`]);
    const buildIdOf = (folder: string): string =>
      /Build ID: (\w+)/.exec(run(["readelf", "-n", join(folder, "libssl.so.3")]).stdout)?.[1] ?? "";
    const one = merged.layouts.libraries.find(({ build_id }) => build_id === buildIdOf(other));
    expect(one).toMatchObject({ machines: 1, first: [`web${OTHER}`], version });
    expect(merged.layouts.libraries.length).toBeGreaterThan(1);
  },
);
