/** Programs of docs/examples at work on this machine. Truth: the test's own connections, and readelf. The others: test/lab/examples.test.ts. */
import { beforeAll, expect, test } from "bun:test";
import { copyFileSync } from "node:fs";
import { dirname } from "node:path";
import { buildExamples, examples } from "../examples.ts";
import { until } from "../until.ts";
import { executable, run, Scratch } from "./executable.ts";

let built: Awaited<ReturnType<typeof buildExamples>>;
beforeAll(async () => {
  built = await buildExamples();
});

test("C with libbpf prints connections, by constants written into the object and BTF of ours", async () => {
  using scratch = new Scratch();
  for (const args of [
    ["bytecode", "edit", built.object, "-o", scratch.at("baked.o")],
    ["btf", "-o", scratch.at("kernel.btf")],
  ])
    expect([0, 3]).toContain(run([executable, ...args]).status);
  copyFileSync(built.program, scratch.at("connections"));
  const child = Bun.spawn([scratch.at("connections"), scratch.at("baked.o"), scratch.at("kernel.btf")], {
    stdout: "pipe",
    stderr: "pipe",
  });
  try {
    let [out, told] = ["", ""];
    const read = async (stream: ReadableStream<Uint8Array>, add: (text: string) => void) => {
      for await (const part of stream) add(new TextDecoder().decode(part));
    };
    void read(child.stdout, (text) => {
      out += text;
    });
    void read(child.stderr, (text) => {
      told += text;
    });
    await until(() => {
      if (child.exitCode !== null) throw new Error(told);
      return told.includes("watching");
    });
    using server = Bun.listen({ hostname: "127.0.0.77", port: 0, socket: { data() {} } });
    const client = await Bun.connect({ hostname: "127.0.0.77", port: server.port, socket: { data() {} } });
    const line = `127.0.0.77:${server.port} from port ${client.localPort}\n`;
    await until(() => out.includes(line));
    client.end();
  } finally {
    child.kill("SIGKILL");
    await child.exited;
  }
});

test("a shell script tells where a probe goes, and ends with 3 where that is not known", () => {
  const env = { PATH: `${dirname(executable)}:/usr/sbin:/usr/bin:/sbin:/bin` };
  const probes = (path: string) => run(["sh", `${examples}/probes.sh`, path], { env });
  const path = "/usr/lib/x86_64-linux-gnu/libssl.so.3";
  const symbol = run(["readelf", "--wide", "--dyn-syms", path]).stdout;
  const address = Number.parseInt(/: ([0-9a-f]+) .* SSL_write@/.exec(symbol)?.[1] ?? "", 16);
  expect(probes(path)).toEqual({
    status: 0,
    stdout: `p:ssl_write ${path}:0x${address.toString(16)} bio=+24(%di):u64\n`,
    stderr: "",
  });
  expect(probes("/bin/true").status).toBe(3);
});
