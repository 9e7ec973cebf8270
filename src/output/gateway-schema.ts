import * as v from "valibot";
import { formatVersion } from "./schema-parts.ts";

/** What the routes of a network namespace do with a packet. */
export const routeKinds = [
  "gateway",
  "direct",
  "local",
  "broadcast",
  "anycast",
  "multicast",
  "unreachable",
  "prohibit",
  "blackhole",
] as const;

/** Sources of subnets: the interface's own addresses, or a cloud's metadata service. */
export const subnetSources = ["interface", "aws"] as const;

/** One gateway lookup. What is null has its reason in `reasons`. */
export const gatewaySchema = v.strictObject({
  /** The source address that was asked for; null where the kernel was to choose. */
  source: v.nullable(v.string()),
  destination: v.string(),
  /** The address that was looked up instead of the destination, which NAT translates to it. */
  translated: v.optional(v.string()),
  /** Inode number of the network namespace; null where the kernel has none (CONFIG_NET_NS), and one network for all. */
  netns: v.nullable(v.number()),
  route: v.nullable(v.picklist(routeKinds)),
  gateway: v.nullable(v.string()),
  interface: v.nullable(v.strictObject({ index: v.number(), name: v.string() })),
  subnet: v.nullable(
    v.strictObject({
      /** The cloud's name of it, such as `subnet-0123456789abcdef0`. */
      alias: v.nullable(v.string()),
      cidr: v.string(),
      source: v.picklist(subnetSources),
    }),
  ),
  reasons: v.strictObject({
    gateway: v.optional(v.string()),
    interface: v.optional(v.string()),
    subnet: v.optional(v.string()),
  }),
});

/** What `offsetof gateway SRC DST --format json` prints. */
export const gatewayDocumentSchema = v.strictObject({
  format_version: v.literal(formatVersion),
  gateway: gatewaySchema,
});

/** One line of what `offsetof gateway --batch` prints; `line` counts the input's lines from 1. */
export const gatewayLineSchema = v.union([
  v.strictObject({ line: v.number(), ...gatewaySchema.entries }),
  v.strictObject({
    line: v.number(),
    code: v.pipe(v.string(), v.regex(/^E_[A-Z0-9_]+$/)),
    message: v.string(),
  }),
]);

export type GatewayAnswer = v.InferOutput<typeof gatewaySchema>;
export type GatewayDocument = v.InferOutput<typeof gatewayDocumentSchema>;
export type GatewayLine = v.InferOutput<typeof gatewayLineSchema>;
