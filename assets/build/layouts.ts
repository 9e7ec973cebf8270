/**
 * Writes assets/layouts from eCapture's published figures: bun assets/build/layouts.ts PUBLISHED.json
 *
 * The input has, for each group, `constants` (macro to offset), `members` (macro to `type->member`) and the build it was
 * measured on, and a map from version text to group.
 */
import { join } from "node:path";
import * as v from "valibot";
import { type Layouts, layoutsSchema } from "../../src/tls/layouts.ts";

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

/** Figures that were seen not to hold for every build of the versions they are published for. */
const disputed: Layouts["disputed"] = [
  {
    group: "openssl_3_0_12",
    constants: ["SSL_ST_SESSION"],
    reason: "published as 2360, measured on one vendor's build; upstream's headers give 2328",
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

const members = (published: Published): Map<string, string> =>
  new Map(Object.values(published.groups).flatMap((group) => Object.entries(group.members)));

/** The `_LEN` macros name no member: they are the size kept inside the array member of that name (InplaceVector). */
function memberOf(
  constant: string,
  group: v.InferOutput<typeof groupSchema>,
  all: Map<string, string>,
): string {
  const length = group.members[constant.replace(/_LEN$/, "")];
  const member = group.members[constant] ?? (length === undefined ? all.get(constant) : `${length}.size`);
  if (member === undefined) throw new Error(`${constant}: no member is known, add it to the input`);
  // Some members carry a remark in brackets.
  return member.replace("->", ".").replace(/ \(.*\)/, "");
}

function layoutsOf(published: Published, prefix: string): Layouts {
  const all = members(published);
  const groups = Object.entries(published.groups).filter(([name]) => name.startsWith(prefix));
  const versions = Object.entries(published.version_map).flatMap(([key, group]) => {
    // Only versions a library's text can hold: eCapture's own fallbacks (`linux_default_…`) and names of Android
    // releases, which no text tells, are left out.
    const text = /^openssl (\d.*)$/.exec(key)?.[1];
    return text !== undefined && group.startsWith(prefix) ? [[text, group]] : [];
  });
  return v.parse(layoutsSchema, {
    attribution: published.source,
    groups: Object.fromEntries(
      groups.map(([name, group]) => [
        name,
        {
          measured_on: group.measured_on,
          fields: Object.entries(group.constants).map(([constant, offset]) => ({
            constant,
            member: memberOf(constant, group, all),
            // A 0 without a member only lets eCapture's code compile: 1.0.2 and 1.1.0 have no TLS 1.3 secrets.
            offset: offset === 0 && !Object.hasOwn(group.members, constant) ? null : offset,
          })),
        },
      ]),
    ),
    versions: Object.fromEntries(versions),
    disputed: disputed.filter(
      ({ group }) => prefix === "openssl_" && (group === undefined || group in published.groups),
    ),
  });
}

/** One field a line: a change of one figure is one line of a diff. */
const written = (layouts: Layouts): string =>
  `${JSON.stringify(layouts, null, 1).replace(/\{\s+("constant": [^\n]+)\s+("member": [^\n]+)\s+("offset": [^\n]+)\s+\}/g, "{ $1 $2 $3 }")}\n`;

/** The text of each file under assets/layouts, by its name. @throws ValiError when the input has another form */
export function layoutFiles(input: unknown): Record<string, string> {
  const published = v.parse(publishedSchema, input);
  return Object.fromEntries(
    ["openssl", "boringssl"].map((library) => [
      `${library}.json`,
      written(layoutsOf(published, `${library}_`)),
    ]),
  );
}

if (import.meta.main) {
  const [input] = process.argv.slice(2);
  if (input === undefined) throw new Error("usage: bun assets/build/layouts.ts PUBLISHED.json");
  for (const [name, text] of Object.entries(layoutFiles(await Bun.file(input).json()))) {
    await Bun.write(join(import.meta.dir, "..", "layouts", name), text);
  }
}
