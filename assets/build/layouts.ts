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
          // A 0 without a member only lets eCapture's code compile: 1.0.2 and 1.1.0 have no TLS 1.3 secrets.
          constants: Object.fromEntries(
            Object.entries(constants).map(([constant, offset]) => [
              constant,
              offset === 0 && !Object.hasOwn(members, constant) ? null : offset,
            ]),
          ),
        },
      ]),
    ),
    versions: Object.fromEntries(versions),
    disputed: disputed.filter(
      ({ group }) => prefix === "openssl_" && (group === undefined || group in published.groups),
    ),
  });
}

/** The text of each file under assets/layouts, by its name. @throws ValiError when the input has another form */
export function layoutFiles(input: unknown): Record<string, string> {
  const published = v.parse(publishedSchema, input);
  return Object.fromEntries(
    ["openssl", "boringssl"].map((library) => [
      `${library}.json`,
      `${JSON.stringify(layoutsOf(published, `${library}_`), null, 1)}\n`,
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
