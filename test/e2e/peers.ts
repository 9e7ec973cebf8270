import { existsSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { loadPackage } from "../../assets/build/debian.ts";
import { TestNetwork } from "../networks.ts";
import { run, type Scratch } from "./executable.ts";
import { certified, secretsIn } from "./keylog.ts";

const PORT = 8443;

/** Debian's nginx and curl in a network namespace of their own; nginx runs in the foreground, from a folder of its own. */
export class Peers implements Disposable {
  readonly #network = new TestNetwork();
  readonly #folder: Scratch = certified();
  readonly #nginx: Bun.Subprocess;
  /** What curl writes, by SSLKEYLOGFILE. */
  readonly keys = this.#folder.at("keys");
  /** The process of nginx that has the connections. */
  readonly worker: number;

  private constructor(nginx: string) {
    const temporary = ["client_body", "proxy", "fastcgi", "uwsgi", "scgi"].map(
      (name) => `${name}_temp_path tmp;`,
    );
    writeFileSync(
      this.#folder.at("nginx.conf"),
      `daemon off; user root; worker_processes 1; pid nginx.pid; error_log stderr;
events {}
http {
  access_log off; ${temporary.join(" ")}
  server {
    listen 127.0.0.1:${PORT} ssl; ssl_certificate cert.pem; ssl_certificate_key key.pem;
    ssl_protocols TLSv1.2 TLSv1.3; location / { return 200 "hello"; }
  }
}
`,
    );
    writeFileSync(this.keys, "");
    const { path } = this.#folder;
    const command = [nginx, "-p", `${path}/`, "-c", "nginx.conf", "-e", "stderr"];
    this.#nginx = Bun.spawn(this.#network.command(...command), { stdio: ["ignore", "ignore", "ignore"] });
    this.worker = this.#workerOf(this.#nginx.pid);
  }

  /** From the package as it is: installed, it would be a service of this machine. */
  static async start(): Promise<Peers> {
    const { root } = await loadPackage("bookworm", "nginx");
    return new Peers(join(root, "usr/sbin/nginx"));
  }

  /** One request a version. */
  request(...versions: readonly ("1.2" | "1.3")[]): void {
    this.requestLogging(this.keys, ...versions);
  }

  /** Likewise, with a key log of their own. */
  requestLogging(keys: string, ...versions: readonly ("1.2" | "1.3")[]): void {
    for (const version of versions) {
      const only = [`--tlsv${version}`, "--tls-max", version];
      const command = this.#network.command("curl", "-sk", ...only, `https://127.0.0.1:${PORT}/`);
      const { status, stdout, stderr } = run(command, { env: { SSLKEYLOGFILE: keys } });
      if (status !== 0 || stdout !== "hello") throw new Error(`curl ended with ${status}: ${stderr}`);
    }
  }

  /** One request a version by git, whose curl has GnuTLS, with a key log of its own; it finds no repository. */
  requestByGit(keys: string, ...versions: readonly ("1.2" | "1.3")[]): void {
    // git names the lowest version alone.
    const without = this.#folder.at("gnutls.conf");
    for (const version of versions) {
      writeFileSync(without, version === "1.2" ? "[overrides]\ndisabled-version = tls1.3\n" : "");
      const url = `https://127.0.0.1:${PORT}/`;
      const command = this.#network.command("git", "-c", "http.sslVerify=false", "ls-remote", url);
      const env = { PATH: "/usr/bin:/bin", SSLKEYLOGFILE: keys, GNUTLS_SYSTEM_PRIORITY_FILE: without };
      const before = secretsIn(keys).length;
      const { stderr } = run(command, { env });
      if (secretsIn(keys).length === before) throw new Error(`git made no connection: ${stderr}`);
    }
  }

  /** Ends nginx, its worker first. */
  end(): void {
    this.#nginx.kill("SIGTERM");
  }

  #workerOf(master: number): number {
    for (let tries = 0; tries < 6000; tries++) {
      const { stdout } = run(["pgrep", "--parent", `${master}`]);
      const worker = Number(stdout.trim());
      if (worker > 0 && existsSync(this.#folder.at("nginx.pid"))) return worker;
      Bun.sleepSync(50);
    }
    throw new Error("nginx did not start");
  }

  [Symbol.dispose](): void {
    this.end();
    for (let tries = 0; tries < 6000 && existsSync(`/proc/${this.worker}`); tries++) Bun.sleepSync(20);
    this.#network[Symbol.dispose]();
    this.#folder[Symbol.dispose]();
  }
}
