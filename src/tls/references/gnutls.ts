import type { SoughtNames, Subject } from "./subject.ts";
import { callsIn, hex, insideOf, numberOf } from "./value-paths.ts";
import type { Witnesses } from "./witnesses.ts";

/** The secrets that are logged, by their labels; each is the third argument beside its label, which is the second. */
const logged: Readonly<Record<string, string>> = {
  CLIENT_RANDOM: "GNUTLS_SESSION_INT_SECURITY_PARAMETERS_MASTER_SECRET",
  CLIENT_EARLY_TRAFFIC_SECRET: "GNUTLS_SESSION_INT_KEY_PROTO_TLS13_E_CKEY",
  CLIENT_HANDSHAKE_TRAFFIC_SECRET: "GNUTLS_SESSION_INT_KEY_PROTO_TLS13_HS_CKEY",
  SERVER_HANDSHAKE_TRAFFIC_SECRET: "GNUTLS_SESSION_INT_KEY_PROTO_TLS13_HS_SKEY",
  CLIENT_TRAFFIC_SECRET_0: "GNUTLS_SESSION_INT_KEY_PROTO_TLS13_AP_CKEY",
  SERVER_TRAFFIC_SECRET_0: "GNUTLS_SESSION_INT_KEY_PROTO_TLS13_AP_SKEY",
  EXPORTER_SECRET: "GNUTLS_SESSION_INT_KEY_PROTO_TLS13_AP_EXPKEY",
};
const loggedAt = 2;

/** The secrets that are derived, by the labels of RFC 8446, 7.1; each is the seventh argument of a function whose second is its label. */
const derived: Readonly<Record<string, string>> = {
  "c e traffic": "GNUTLS_SESSION_INT_KEY_PROTO_TLS13_E_CKEY",
  "c hs traffic": "GNUTLS_SESSION_INT_KEY_PROTO_TLS13_HS_CKEY",
  "s hs traffic": "GNUTLS_SESSION_INT_KEY_PROTO_TLS13_HS_SKEY",
  "c ap traffic": "GNUTLS_SESSION_INT_KEY_PROTO_TLS13_AP_CKEY",
  "s ap traffic": "GNUTLS_SESSION_INT_KEY_PROTO_TLS13_AP_SKEY",
  "exp master": "GNUTLS_SESSION_INT_KEY_PROTO_TLS13_AP_EXPKEY",
};
const derivedAt = 6;
const labelAt = 1;

/** MAX_HASH_SIZE: each secret of TLS 1.3 has as many bytes, and the next follows, in the order above (lib/gnutls_int.h). */
const secretSize = 64;

export const gnutlsNames: SoughtNames = {
  texts: [...Object.keys(logged), ...Object.keys(derived)],
  files: [],
  needles: ["CLIENT_RANDOM", "TRAFFIC_SECRET", "EXPORTER_SECRET", " traffic", "exp master"],
};

/**
 * What the code of GnuTLS 3.6.13 and later reveals of its session, by strings alone: a secret is derived into it by one label,
 * logged by another, and has its place among the others. Sources: lib/constate.c, lib/handshake-tls13.c, lib/ext/pre_shared_key.c, lib/kx.c.
 */
export function readGnutls(subject: Subject, found: Witnesses): void {
  for (const entry of subject.naming(...gnutlsNames.texts)) {
    for (const { arguments: passed } of callsIn(subject.events(entry))) {
      const label = subject.names.get(numberOf(passed[labelAt]) ?? -1) ?? "";
      for (const [constants, at] of [
        [logged, loggedAt],
        [derived, derivedAt],
      ] as const) {
        const constant = constants[label];
        const offset = insideOf(passed[at]);
        if (constant !== undefined && offset !== null && offset > 0)
          found.say(constant, offset, `"${label}" in ${hex(entry)}`);
      }
    }
  }
  const secrets = Object.values(derived);
  for (const [index, constant] of secrets.entries()) {
    const offset = found.seen(constant);
    const isBetween = [index - 1, index + 1].every((other) => {
      const name = secrets[other];
      return name === undefined || found.seen(name) === (offset ?? 0) + (other - index) * secretSize;
    });
    if (offset !== null && isBetween) found.say(constant, offset, "one secret behind the other");
  }
}
