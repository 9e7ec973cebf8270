import * as v from "valibot";

const name = v.pipe(v.string(), v.regex(/^[A-Z0-9_]+$/));
/** Bytes from the start of the type; null where the struct has no such member in this group. */
const offset = v.nullable(v.pipe(v.number(), v.integer(), v.minValue(0), v.maxValue(65_535)));

/** Published figures that are known not to hold for every build of a version: no value is told for them. */
const disputeSchema = v.strictObject({
  /** The layout that it applies to. */
  group: v.optional(v.string()),
  /** Or the suffix: it applies to every version whose text holds it. */
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
        /** Whether the struct has members that the group does not know: what it says nothing of may be there. */
        partial: v.optional(v.literal(true)),
        constants: v.record(name, offset),
      }),
    ),
    /** Version text to group. */
    versions: v.record(v.string(), v.string()),
    /** How those versions were measured that this project added to the published ones. */
    measured: v.record(v.string(), v.string()),
    disputed: v.array(disputeSchema),
    /** Constants whose member went when another came, with that one's: a struct has one of the two. */
    successors: v.record(name, name),
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
