import { bioMethods, methodFiles } from "./bio.ts";
import { handshakeFiles, states, versions } from "./boringssl-handshake.ts";
import { keyLog, keyLogFunction, loggedSecrets, randoms } from "./boringssl-key-log.ts";
import { sessionCipher, sessionParser, sessions, sessionUsers } from "./boringssl-sessions.ts";
import { cipherTable } from "./ciphers.ts";
import { keyLogLabels } from "./labels.ts";
import type { SoughtNames, Subject } from "./subject.ts";
import { callsIn, hex, insideOf, isReached, memberOf, numberOf } from "./value-paths.ts";
import type { Witnesses } from "./witnesses.ts";

export const boringsslNames: SoughtNames = {
  texts: [...keyLogLabels, "exp master", "traffic upd"],
  files: [...handshakeFiles, "tls13_enc.cc", "ssl_asn1.cc", "ssl_buffer.cc", "ssl_session.cc", "ssl_lib.cc"],
  apart: methodFiles,
  needles: ["CLIENT_RANDOM", "TRAFFIC_SECRET", "EXPORTER_SECRET", "exp master", "traffic upd", ".cc\0"],
};

/** SSL_R_BIO_NOT_SET of ssl.h. */
const bioNotSet = 119;
/** evp_aead_open and evp_aead_seal of ssl/internal.h. */
const directions = { read: 0, write: 1 } as const;

/** By direction, and by eCapture's names: those of a server, which writes with its own and reads with the client's. */
const readSecrets = [
  "BSSL__SSL3_STATE_READ_TRAFFIC_SECRET",
  "BSSL__SSL3_STATE_CLIENT_TRAFFIC_SECRET_0",
] as const;
const writeSecrets = [
  "BSSL__SSL3_STATE_WRITE_TRAFFIC_SECRET",
  "BSSL__SSL3_STATE_SERVER_TRAFFIC_SECRET_0",
] as const;

/**
 * What the code of BoringSSL reveals of its layout, by strings alone. A handshake (bssl::SSL_HANDSHAKE) is the first argument of the
 * functions that make it, and its first member is the connection. Sources: ssl/*.cc and crypto/bio of BoringSSL, 2019 to 2026.
 */
export function readBoringssl(subject: Subject, found: Witnesses): void {
  cipherTable(subject, found, { name: 0, id: "SSL_CIPHER_ST_ID", protocolId: "SSL_CIPHER_ST_PROTOCOL_ID" });
  const log = keyLog(subject);
  if (log !== null) {
    loggedSecrets(subject, found, log);
    keyLogFunction(subject, found, log.entry);
  }
  states(subject, found);
  versions(subject, found);
  randoms(subject, found);
  sessions(subject, found);
  sessionParser(subject, found);
  sessionUsers(subject, found);
  sessionCipher(subject, found);
  trafficSecrets(subject, found);
  buffers(subject, found);
}

/** tls13_rotate_traffic_key(ssl, direction) names "traffic upd": each way it works on one of two secrets. */
function trafficSecrets(subject: Subject, found: Witnesses): void {
  const s3 = found.seen("SSL_ST_S3");
  if (s3 === null) return;
  for (const entry of subject.naming("traffic upd")) {
    const [read, write] = [directions.read, directions.write].map((direction) => {
      const events = subject.events(entry, { given: new Map([[1, direction]]) });
      return new Set(
        callsIn(events).flatMap(({ arguments: passed }) => passed.flatMap((one) => insideOf(one, s3) ?? [])),
      );
    });
    if (read === undefined || write === undefined) continue;
    const [onlyRead, onlyWrite] = [
      [...read].filter((one) => !write.has(one)),
      [...write].filter((one) => !read.has(one)),
    ];
    if (onlyRead.length !== 1 || onlyWrite.length !== 1) continue;
    const [reading = -1, writing = -1] = [onlyRead[0], onlyWrite[0]];
    const exporter = found.known("BSSL__SSL3_STATE_EXPORTER_SECRET");
    const where = [`the keys renewed in ${hex(entry)}`];
    // The three secrets of one kind lie one behind the other.
    if (exporter !== null && exporter - reading === reading - writing)
      where.push("the exporter's secret as far behind");
    for (const one of where) {
      for (const constant of readSecrets) found.say(constant, reading, one);
      for (const constant of writeSecrets) found.say(constant, writing, one);
    }
  }
}

/** ssl_buffer.cc refuses to work without a BIO, and hands it to BIO_read or BIO_write, which call its method. */
function buffers(subject: Subject, found: Witnesses): void {
  const methods = bioMethods(subject, found);
  for (const entry of subject.naming("ssl_buffer.cc")) {
    const events = subject.events(entry);
    const tested = new Set(
      events.flatMap((event) => {
        if (event.kind !== "compare") return [];
        const member = memberOf(event.left);
        return member?.width === 8 &&
          isReached(member.from) &&
          (numberOf(event.right) === 0 || event.right.kind === "place")
          ? member.from.add
          : [];
      }),
    );
    const refuses = callsIn(events).some(({ arguments: passed }) =>
      passed.some((one) => numberOf(one) === bioNotSet),
    );
    for (const { arguments: passed, target } of callsIn(events)) {
      const bio = memberOf(passed[0]);
      if (bio?.width !== 8 || !isReached(bio.from)) continue;
      const callee = numberOf(target);
      const use = callee === null ? methods.inlined(target, bio.from.add) : methods.use(callee);
      if (use === null) continue;
      const constant = use.slot === "read" ? "SSL_ST_RBIO" : "SSL_ST_WBIO";
      found.say("BIO_ST_METHOD", use.method, `BIO_${use.slot} ${hex(callee ?? entry)}`);
      found.say(constant, bio.from.add, `BIO_${use.slot} in ${hex(entry)}`);
      if (refuses && tested.has(bio.from.add)) found.say(constant, bio.from.add, `tested in ${hex(entry)}`);
    }
  }
}
