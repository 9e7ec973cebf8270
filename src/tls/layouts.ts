import * as v from "valibot";
import { unpublished } from "./code/accessors.ts";

const name = v.pipe(v.string(), v.regex(/^[A-Z0-9_]+$/));
/** Bytes from the start of the type; null where the struct has no such member in this group. */
const offset = v.nullable(v.pipe(v.number(), v.integer(), v.minValue(0), v.maxValue(65_535)));

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
    /** Constant to `type.member`. */
    members: v.record(name, v.string()),
    /** Constants in published order. */
    groups: v.record(
      v.string(),
      v.strictObject({
        measured_on: v.string(),
        /** The newest version of which somebody says that it has this layout. */
        checked_up_to: v.strictObject({ version: v.string(), by: v.string() }),
        constants: v.record(name, offset),
      }),
    ),
    /** Version text to group. */
    versions: v.record(v.string(), v.string()),
    /** How those versions were measured that this project added to the published ones. */
    measured: v.record(v.string(), v.string()),
    disputed: v.array(disputeSchema),
  }),
  v.check(
    ({ groups, versions }) => Object.values(versions).every((group) => Object.hasOwn(groups, group)),
    "a version names a group that is not there",
  ),
  v.check(
    ({ groups, members }) =>
      Object.values(groups).every(({ constants }) => Object.keys(constants).every((one) => one in members)),
    "a constant has no member",
  ),
);

export type Layouts = v.InferOutput<typeof layoutsSchema>;

/** Libraries of which layouts are published. Loaded on demand: other subcommands never need them. */
const files = {
  openssl: () => import("../../assets/layouts/openssl.json", { with: { type: "json" } }),
  boringssl: () => import("../../assets/layouts/boringssl.json", { with: { type: "json" } }),
};

/** Every constant that any library can have. @throws ValiError when an embedded file is bad */
export async function tlsConstants(): Promise<readonly string[]> {
  const all = await Promise.all([constantsOf("openssl"), constantsOf("boringssl")]);
  return [...new Set(all.flat())];
}

/** Every constant that a library of this kind can have. @throws ValiError when the embedded file is bad */
export async function constantsOf(library: string): Promise<readonly string[]> {
  const layouts = await loadLayouts(library);
  return layouts === null ? [] : [...Object.keys(layouts.members), ...Object.keys(unpublished)];
}

/** The published layouts of a library, null where there are none. @throws ValiError when the embedded file is bad */
export async function loadLayouts(library: string): Promise<Layouts | null> {
  if (library !== "openssl" && library !== "boringssl") return null;
  const file: { default: unknown } = await files[library]();
  return v.parse(layoutsSchema, file.default);
}
