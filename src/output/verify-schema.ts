import * as v from "valibot";
import { formatVersion } from "./schema-parts.ts";

/** What a program read with the kernel's constants, against what the kernel says. */
const verifiedKernelSchema = v.strictObject({
  bytecode: v.string(),
  attached: v.array(v.string()),
  /** By constant: how often it was compared, how often it held, and the first time that it did not. */
  constants: v.record(
    v.string(),
    v.strictObject({
      compared: v.number(),
      held: v.number(),
      mismatch: v.optional(
        v.strictObject({ socket: v.string(), expected: v.string(), got: v.nullable(v.string()) }),
      ),
    }),
  ),
  /** Constants that the program takes and nothing was compared of: not known, or no such socket was seen. */
  not_compared: v.array(v.string()),
  /** Kinds of sockets (tcp4, tcp6, udp4, udp6) of which some were not seen, how many, and why: nothing is said of them. */
  not_seen: v.record(v.string(), v.strictObject({ sockets: v.number(), reason: v.string() })),
});

/** What a program read with a library's constants, against what the sessions' own ends say. Counts and names alone: no value. */
const verifiedTlsSchema = v.strictObject({
  path: v.string(),
  root: v.optional(v.string()),
  bytecode: v.nullable(v.string()),
  /** Functions that were watched. */
  attached: v.array(v.string()),
  connections: v.number(),
  /** Ends of these connections that were read, and that were to be read and were not. */
  ends: v.number(),
  missed: v.number(),
  events: v.number(),
  /** Events that found no room. */
  lost: v.number(),
  /** By item of a connection: how often it was compared, how often it held, and the constants that lead to it. */
  items: v.record(
    v.string(),
    v.strictObject({ compared: v.number(), held: v.number(), constants: v.array(v.string()) }),
  ),
  /** Constants that the program takes and nothing was compared of. */
  not_compared: v.array(v.string()),
  /** Constants that the program takes and that are not known. */
  not_known: v.array(v.string()),
  /** Why nothing was compared at all. */
  reason: v.optional(v.string()),
});

/** What `offsetof verify` found. */
export const verifiedSchema = v.strictObject({
  kernel: v.optional(verifiedKernelSchema),
  tls: v.optional(v.array(verifiedTlsSchema)),
});

/** What `offsetof verify` prints. */
export const verifySchema = v.strictObject({
  format_version: v.literal(formatVersion),
  verify: verifiedSchema,
});

export type VerifiedKernel = v.InferOutput<typeof verifiedKernelSchema>;
export type VerifiedTls = v.InferOutput<typeof verifiedTlsSchema>;
export type Verified = v.InferOutput<typeof verifiedSchema>;
export type Verify = v.InferOutput<typeof verifySchema>;
