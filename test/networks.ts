import { readlinkSync } from "node:fs";

/**
 * A network namespace with nothing in it but `lo`, held by a process. It is gone, with the veth pairs that end in it,
 * when that process is. What it does is told by iproute2, which shares no code with what is tested.
 */
export class TestNetwork implements Disposable {
  readonly #holder = Bun.spawn(["unshare", "--net", "sleep", "600"], {
    stdio: ["ignore", "ignore", "inherit"],
  });
  readonly pid = this.#holder.pid;
  readonly path = `/proc/${this.pid}/ns/net`;

  constructor() {
    while (readlinkSync(this.path) === readlinkSync("/proc/self/ns/net")) {
      if (this.#holder.exitCode !== null)
        throw new Error("unshare --net failed: the tests of networks need root");
      Bun.sleepSync(1);
    }
    this.ip("link set lo up");
  }

  /** Inode number of the namespace. */
  get inode(): number {
    return Number(/\d+/.exec(readlinkSync(this.path))?.[0]);
  }

  /** A command line that runs in the namespace. */
  command(...command: string[]): string[] {
    return ["nsenter", "--target", String(this.pid), "--net", ...command];
  }

  /** Runs one ip(8) command a line. @throws where one fails */
  ip(...lines: string[]): string {
    return this.#run(this.command("ip", "-json", "-batch", "-"), lines.join("\n"));
  }

  /** What `ip route get` says, parsed; its message where it fails. */
  routeGet(
    ...args: string[]
  ): { gateway?: string; via?: { host: string }; dev?: string; type?: string } | string {
    const { exitCode, stdout, stderr } = Bun.spawnSync(this.command("ip", "-json", "route", "get", ...args));
    return exitCode === 0 ? JSON.parse(stdout.toString())[0] : stderr.toString().trim();
  }

  /** Joins two networks by a veth pair; both ends are up. */
  connect(name: string, other: TestNetwork, otherName: string): void {
    this.ip(`link add ${name} type veth peer name ${otherName} netns ${other.pid}`, `link set ${name} up`);
    other.ip(`link set ${otherName} up`);
  }

  #run(command: string[], input: string): string {
    const { exitCode, stdout, stderr } = Bun.spawnSync(command, { stdin: Buffer.from(`${input}\n`) });
    if (exitCode !== 0) throw new Error(`${input}: ${stderr}`);
    return stdout.toString();
  }

  [Symbol.dispose](): void {
    this.#holder.kill("SIGKILL");
  }
}
