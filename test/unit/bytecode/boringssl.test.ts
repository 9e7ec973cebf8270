import { afterAll, beforeAll, expect, test } from "bun:test";
import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { dirname, join } from "node:path";
import { run } from "../../../assets/build/run.ts";
import { secretsOf } from "../../../src/bytecode/event-secrets.ts";
import { debianPackage, fetchTimeout, loadSamples } from "../tls/debian.ts";
import { capture, hex } from "./capture.ts";
import { parseKeyLog } from "./live.ts";

let folder: string;
let library: string;
const at = (name: string): string => join(folder, name);

beforeAll(async () => {
  await loadSamples();
  const { root } = debianPackage("bookworm", "amd64", "android-libboringssl");
  library = join(root, "usr/lib/x86_64-linux-gnu/android/libssl.so.0");
  folder = await mkdtemp(join(tmpdir(), "offsetof-boringssl-"));
  const subject = ["-subj", "/CN=offsetof", "-keyout", "key.pem", "-out", "cert.pem"];
  await run(["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2", ...subject], {
    cwd: folder,
  });
  await run(["gcc", "-O1", "-o", at("shake"), join(import.meta.dir, "shake.c"), "-ldl"]);
}, fetchTimeout);
afterAll(() => rm(folder, { recursive: true }));

async function shake(version: string) {
  const command = [at("shake"), library, at("cert.pem"), at("key.pem"), version, at("keys"), "1"];
  const { stdout } = await run(["env", `LD_LIBRARY_PATH=${dirname(library)}`, ...command]);
  const [client = -1, server = -1] = stdout.trim().split(" ").map(Number);
  return { client, server, keyLog: parseKeyLog(await Bun.file(at("keys")).text()) };
}

/**
 * Android 13's group does not have these two: ssl/internal.h declares write_traffic_secret, read_traffic_secret and
 * exporter_secret of 48 bytes each, one after the other.
 */
function addTrafficSecrets(values: Map<string, bigint | null>): void {
  const exporter = values.get("BSSL__SSL3_STATE_EXPORTER_SECRET") ?? 0n;
  values.set("BSSL__SSL3_STATE_SERVER_TRAFFIC_SECRET_0", exporter - 96n);
  values.set("BSSL__SSL3_STATE_CLIENT_TRAFFIC_SECRET_0", exporter - 48n);
}

test.each(["current", "old"] as const)(
  "TLS 1.2, the %s object: the master key of both sides",
  async (choice) => {
    const { events, session } = await capture(library, choice, () => shake("0303"), { allowMissing: true });
    const [[random = "", labels] = []] = session.keyLog;
    for (const fd of [session.client, session.server]) {
      const last = events.findLast((event) => event.fd === fd);
      expect(last?.version).toBe(0x0303);
      expect(last?.client_random && hex(last.client_random)).toBe(random);
      expect(last?.master_key && hex(last.master_key)).toBe(labels?.get("CLIENT_RANDOM") ?? "none");
    }
  },
);

test.each(["current", "old"] as const)(
  "TLS 1.3, the %s object: secrets by direction, of both sides",
  async (choice) => {
    const { events, session } = await capture(library, choice, () => shake("0304"), {
      allowMissing: true,
      change: addTrafficSecrets,
    });
    const [[random = "", labels] = []] = session.keyLog;
    for (const [side, fd] of Object.entries({ client: session.client, server: session.server })) {
      const own = events.filter((event) => event.fd === fd);
      const last = own.at(-1);
      expect(last?.by_direction).toBe(true);
      expect(last?.client_random && hex(last.client_random)).toBe(random);
      const captured = last === undefined ? undefined : secretsOf(last);
      const of = (label: "CLIENT_TRAFFIC_SECRET_0" | "SERVER_TRAFFIC_SECRET_0" | "EXPORTER_SECRET") =>
        hex(captured?.get(label) ?? new Uint8Array());
      // A server's are what they are called, a client's the other way round.
      const [mine, other] =
        side === "server" ? (["SERVER", "CLIENT"] as const) : (["CLIENT", "SERVER"] as const);
      expect(of("SERVER_TRAFFIC_SECRET_0")).toBe(labels?.get(`${mine}_TRAFFIC_SECRET_0`) ?? "none");
      expect(of("CLIENT_TRAFFIC_SECRET_0")).toBe(labels?.get(`${other}_TRAFFIC_SECRET_0`) ?? "none");
      expect(of("EXPORTER_SECRET")).toBe(labels?.get("EXPORTER_SECRET") ?? "none");
      // While the handshake goes on, no secret of it is taken for one of the traffic's.
      for (const event of own) {
        if (event.client_app_traffic_secret === null) continue;
        expect(hex(event.client_app_traffic_secret)).toBe(
          hex(last?.client_app_traffic_secret ?? new Uint8Array()),
        );
      }
    }
  },
);
