import * as v from "valibot";

const fieldSchema = v.strictObject({
  constant: v.pipe(v.string(), v.regex(/^[A-Z0-9_]+$/)),
  member: v.pipe(v.string(), v.nonEmpty()),
  /** Bytes from the start of the type; null where the struct has no such member in this group. */
  offset: v.nullable(v.pipe(v.number(), v.integer(), v.minValue(0), v.maxValue(65_535))),
});

/** Published figures that are known not to hold for every build of a version: no value is told for them. */
const disputeSchema = v.strictObject({
  /** Applies to a layout, */
  group: v.optional(v.string()),
  /** or to every version whose text holds this suffix. */
  suffix: v.optional(v.string()),
  constants: v.array(v.string()),
  reason: v.string(),
});

/** One file of assets/layouts: what is published of one library. Written by assets/build/layouts.ts. */
export const layoutsSchema = v.pipe(
  v.strictObject({
    attribution: v.string(),
    groups: v.record(v.string(), v.strictObject({ measured_on: v.string(), fields: v.array(fieldSchema) })),
    /** Version text to group. */
    versions: v.record(v.string(), v.string()),
    disputed: v.array(disputeSchema),
  }),
  v.check(
    ({ groups, versions }) => Object.values(versions).every((group) => Object.hasOwn(groups, group)),
    "a version names a group that is not there",
  ),
);

export type Layouts = v.InferOutput<typeof layoutsSchema>;
export type Layout = Layouts["groups"][string];

/** Libraries of which layouts are published. Loaded on demand: other subcommands never need them. */
const files = {
  openssl: () => import("../../assets/layouts/openssl.json", { with: { type: "json" } }),
  boringssl: () => import("../../assets/layouts/boringssl.json", { with: { type: "json" } }),
};

/** The published layouts of a library, null where there are none. @throws ValiError when the embedded file is bad */
export async function loadLayouts(library: string): Promise<Layouts | null> {
  if (library !== "openssl" && library !== "boringssl") return null;
  const file: { default: unknown } = await files[library]();
  return v.parse(layoutsSchema, file.default);
}
