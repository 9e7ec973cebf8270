import { writeFileSync } from "node:fs";
import { availableParallelism } from "node:os";
import { join } from "node:path";
import { run, Scratch } from "../e2e/executable.ts";
import { Running, verifiedIn } from "../e2e/keylog.ts";
import { TestNetwork } from "../networks.ts";
import { medians, row, table } from "./figures.ts";

const LIBSSL = "/usr/lib/x86_64-linux-gnu/libssl.so.3";
const SECONDS = 10;
const ROUNDS = 3;

export interface Load {
  /** Handshakes that the servers made. */
  readonly handshakes: number;
  /** Microseconds of the servers' CPU time. */
  readonly cpu: number;
}

/** TLS 1.3 handshakes over loopback, as many as there is time for: see load.c. */
export class LoadMaker implements Disposable {
  readonly #network = new TestNetwork();
  readonly #folder = new Scratch();
  readonly keys = this.#folder.at("keys");

  constructor() {
    const source = join(import.meta.dir, "load.c");
    this.#do("gcc", "-O1", "-w", "-o", this.#folder.at("load"), source, "-ldl");
    const curve = ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes", "-days", "2"];
    const files = ["-keyout", this.#folder.at("key.pem"), "-out", this.#folder.at("cert.pem")];
    this.#do("openssl", "req", "-x509", ...curve, "-subj", "/CN=offsetof", ...files);
    writeFileSync(this.keys, "");
  }

  /** @param pairs of a client and a server, each in a process of its own */
  async make(seconds: number, pairs: number): Promise<Load> {
    const [cert, key] = [this.#folder.at("cert.pem"), this.#folder.at("key.pem")];
    const args = [LIBSSL, cert, key, this.keys, `${seconds}`, `${pairs}`, "20000"];
    const load = Bun.spawn(this.#network.command(this.#folder.at("load"), ...args));
    const [handshakes, cpu] = (await new Response(load.stdout).text()).trim().split(" ").map(Number);
    if ((await load.exited) !== 0 || handshakes === undefined || cpu === undefined)
      throw new Error("the load could not be made");
    return { handshakes, cpu };
  }

  #do(...command: string[]): void {
    const { status, stderr } = run(command);
    if (status !== 0) throw new Error(`${command[0]}: ${stderr}`);
  }

  [Symbol.dispose](): void {
    this.#network[Symbol.dispose]();
    this.#folder[Symbol.dispose]();
  }
}

/** Makes a load while every process that uses the library is watched. */
export async function watchedLoad(load: LoadMaker, seconds: number, pairs: number) {
  const args = ["verify", "tls", LIBSSL, "--against", load.keys, "--seconds", "3600", "--format", "json"];
  const running = new Running(args);
  await running.watches();
  const made = await load.make(seconds, pairs);
  running.kill("SIGINT");
  const result = await running.end();
  const [one] = verifiedIn(result);
  if (one === undefined) throw new Error(`nothing was verified: ${result.stderr}`);
  return { made, one, status: result.status };
}

/** What a server loses while its connections are verified, and what the verification misses. */
export async function verifySection(): Promise<string> {
  const pairs = Math.max(1, availableParallelism());
  const rows = [];
  for (let round = 0; round < ROUNDS; round++) {
    using load = new LoadMaker();
    const free = await load.make(SECONDS, pairs);
    const { made, one } = await watchedLoad(load, SECONDS, pairs);
    const { connections, ends, missed, lost, events } = one;
    rows.push({
      freeRate: free.handshakes / SECONDS,
      freeCpu: free.cpu / free.handshakes,
      rate: made.handshakes / SECONDS,
      cpu: made.cpu / made.handshakes,
      events: events / SECONDS,
      connections,
      ends,
      missed: 2 * made.handshakes - ends,
      lost: lost + missed,
    });
  }
  const { freeRate, freeCpu, rate, cpu, events, ends, missed, lost } = medians(rows);
  return `## A server whose connections are verified

${pairs} pairs of a client and a server make TLS 1.3 handshakes over loopback with the system's libssl, each a new session (ECDSA
P-256, no tickets), as many as there is time for in ${SECONDS} s; the machine's ${availableParallelism()} processors are all theirs and offsetof's. Verified are both
ends of each by \`offsetof verify tls PATH --against KEYLOG\`. ${ROUNDS} rounds of each in turn.

${table(
  [
    "",
    "handshakes a second",
    "server's cpu µs a handshake",
    "events a second",
    "ends read",
    "ends missed",
    "events lost",
  ],
  [
    row("not verified", freeRate, freeCpu, "", "", "", ""),
    row("verified", rate, cpu, events, ends.toFixed(0), missed.toFixed(0), lost.toFixed(0)),
    row(
      "verified ÷ not",
      `${(rate / freeRate).toFixed(2)}×`,
      `${(cpu / freeCpu).toFixed(2)}×`,
      "",
      "",
      "",
      "",
    ),
  ],
)}
`;
}
