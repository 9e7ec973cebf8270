/**
 * docs/examples/connections.py at work here, with Debian's bcc. It compiles with kernel headers, which need not be of the kernel that runs:
 * what it reads by are our constants. `apt-get install python3-bpfcc`, then `OFFSETOF_ENGINES=bcc bun test test/engines`.
 */
import { expect, test } from "bun:test";
import { writeFileSync } from "node:fs";
import { join } from "node:path";
import { loadPackage, openSuite } from "../../assets/build/debian.ts";
import { executable, run, Scratch } from "../e2e/executable.ts";
import { examples } from "../examples.ts";
import { until } from "../until.ts";

const isAsked = /\bbcc\b|^all$/.test(process.env.OFFSETOF_ENGINES ?? "");

/** Debian's headers in one folder, as bcc wants them. */
async function headersIn(folder: string): Promise<void> {
  const depends = await (await openSuite("bookworm")).depends("linux-headers-cloud-amd64");
  const name = depends.find((each) => /^linux-headers-.*-cloud-amd64$/.test(each)) ?? "";
  const common = name.replace("cloud-amd64", "common");
  for (const [each, parts] of [
    [common, "."],
    [name, "include arch"],
  ] as const) {
    const from = join((await loadPackage("bookworm", each)).root, "usr/src", each);
    const { status, stderr } = run(["sh", "-c", `cd "$0" && cp -a ${parts} "$1"`, from, folder]);
    if (status !== 0) throw new Error(stderr);
  }
}

test.skipIf(!isAsked)("Python with bcc prints connections, by constants of the header", async () => {
  using scratch = new Scratch();
  await headersIn(scratch.path);
  writeFileSync(scratch.at("offsets.h"), run([executable, "kernel", "--format", "header"]).stdout);
  const child = Bun.spawn(["/usr/bin/python3", join(examples, "connections.py"), scratch.at("offsets.h")], {
    env: { PATH: "/usr/sbin:/usr/bin:/sbin:/bin", BCC_KERNEL_SOURCE: scratch.path },
    stdout: Bun.file(scratch.at("out")),
    stderr: Bun.file(scratch.at("told")),
  });
  try {
    const textOf = (name: string) => run(["cat", scratch.at(name)]).stdout;
    await until(() => {
      if (child.exitCode !== null) throw new Error(textOf("told"));
      return textOf("told").includes("watching");
    });
    using server = Bun.listen({ hostname: "127.0.0.78", port: 0, socket: { data() {} } });
    const client = await Bun.connect({ hostname: "127.0.0.78", port: server.port, socket: { data() {} } });
    const line = `127.0.0.78:${server.port} from port ${client.localPort}\n`;
    await until(() => textOf("out").includes(line));
    client.end();
  } finally {
    child.kill("SIGKILL");
    await child.exited;
  }
  expect(child.killed).toBe(true);
});
