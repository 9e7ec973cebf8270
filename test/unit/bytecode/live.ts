import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { run } from "../../../assets/build/run.ts";

/** One session that openssl made over loopback, and the key log that it wrote itself. */
export interface Session {
  readonly client: { readonly pid: number; readonly sockets: readonly number[] };
  readonly server: { readonly pid: number };
  /** Hex of the client's random to what its key log says: label to hex of the secret. */
  readonly keyLog: ReadonlyMap<string, ReadonlyMap<string, string>>;
}

/** Lines of the NSS key log format. */
export function parseKeyLog(text: string): ReadonlyMap<string, ReadonlyMap<string, string>> {
  const log = new Map<string, Map<string, string>>();
  for (const [, label = "", random = "", secret = ""] of text.matchAll(/^([A-Z_0-9]+) (\w+) (\w+)$/gm)) {
    const labels = log.get(random) ?? new Map<string, string>();
    log.set(random, labels.set(label, secret));
  }
  return log;
}

/** The openssl program, run with the libraries of a folder where one is named. */
export class OpenSsl implements Disposable {
  readonly #folder = mkdtempSync(join(tmpdir(), "offsetof-openssl-"));
  readonly #program: string;
  readonly #env: Record<string, string>;
  #sessions = 0;

  constructor(program = "openssl", libraries?: string) {
    this.#program = program;
    this.#env = {
      PATH: "/usr/bin:/bin",
      OPENSSL_CONF: "/dev/null",
      ...(libraries === undefined ? {} : { LD_LIBRARY_PATH: libraries }),
    };
  }

  async certify(): Promise<void> {
    const subject = ["-subj", "/CN=offsetof", "-keyout", "key.pem", "-out", "cert.pem"];
    // The machine's own: the key is a file like any other.
    await run(["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2", ...subject], {
      cwd: this.#folder,
    });
  }

  /** One session with an echo of a line. `during` is called while both sides are connected. */
  async session(
    version: "tls1_2" | "tls1_3",
    during: () => void,
    clientOptions: readonly string[] = [],
  ): Promise<Session> {
    const options = {
      cwd: this.#folder,
      env: this.#env,
      stdin: "pipe",
      stdout: "pipe",
      stderr: "ignore",
    } as const;
    const keys = join(this.#folder, `${++this.#sessions}.keys`);
    const serve = [
      "s_server",
      "-accept",
      "127.0.0.1:0",
      "-cert",
      "cert.pem",
      "-key",
      "key.pem",
      "-rev",
      "-naccept",
      "1",
    ];
    const server = Bun.spawn([this.#program, ...serve], options);
    try {
      const [, address = ""] = await seen(server.stdout, /^ACCEPT (\S+)\n/m);
      const connect = [
        "s_client",
        "-connect",
        address,
        `-${version}`,
        "-keylogfile",
        keys,
        "-quiet",
        ...clientOptions,
      ];
      const client = Bun.spawn([this.#program, ...connect], options);
      try {
        client.stdin.write("abc\n");
        client.stdin.flush();
        await seen(client.stdout, /cba/);
        during();
        const { stdout } = await run([
          "find",
          `/proc/${client.pid}/fd`,
          "-lname",
          "socket:*",
          "-printf",
          "%f\\n",
        ]);
        const sockets = stdout.trim().split("\n").map(Number);
        const keyLog = parseKeyLog(await Bun.file(keys).text());
        return { client: { pid: client.pid, sockets }, server: { pid: server.pid }, keyLog };
      } finally {
        client.kill();
        await client.exited;
      }
    } finally {
      server.kill();
      await server.exited;
    }
  }

  /** The key log of TLS 1.3 sessions that a libssl has with itself, one after the other with the same two SSL objects. */
  async shake(library: string, libraries: string, times: number): Promise<Session["keyLog"]> {
    const at = (name: string): string => join(this.#folder, name);
    await run(["gcc", "-O1", "-o", at("shake"), join(import.meta.dir, "shake.c"), "-ldl"]);
    const command = [
      at("shake"),
      library,
      at("cert.pem"),
      at("key.pem"),
      "0304",
      at("shake.keys"),
      `${times}`,
    ];
    await run(["env", `LD_LIBRARY_PATH=${libraries}`, ...command]);
    return parseKeyLog(await Bun.file(at("shake.keys")).text());
  }

  /** The key log of one HTTPS request that a Node.js makes to itself. */
  async node(program: string, version: string): Promise<Session["keyLog"]> {
    const keys = join(this.#folder, "node.keys");
    const script = join(import.meta.dir, "node.script.mjs");
    await run([program, `--tls-keylog=${keys}`, script, "key.pem", "cert.pem", version], {
      cwd: this.#folder,
    });
    return parseKeyLog(await Bun.file(keys).text());
  }

  [Symbol.dispose](): void {
    rmSync(this.#folder, { recursive: true });
  }
}

/** Reads until a text has come. */
async function seen(stream: ReadableStream<Uint8Array>, text: RegExp): Promise<RegExpExecArray> {
  let said = "";
  const reader = stream.getReader();
  const decoder = new TextDecoder();
  for (;;) {
    const { done, value } = await reader.read();
    if (done) throw new Error(`${text} did not come: ${said}`);
    said += decoder.decode(value, { stream: true });
    const found = text.exec(said);
    if (found === null) continue;
    reader.releaseLock();
    return found;
  }
}
