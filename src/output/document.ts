import * as v from "valibot";
import { sources } from "../offsets/evidence.ts";
import { statuses } from "../offsets/truth.ts";
import {
  constantName,
  constants,
  diagnosticSchema,
  formatVersion,
  libraryEntries,
  offset,
  triState,
} from "./schema-parts.ts";
import { verifiedSchema } from "./verify-schema.ts";

/** How the kernel can be guessed. */
export const strategies = ["snapshot", "stepwise"] as const;
export type Strategy = (typeof strategies)[number];

/** One field: its value, and why it is that value or none. */
export const fieldSchema = v.strictObject({
  value: v.nullable(offset),
  member: v.string(),
  status: v.picklist(statuses),
  evidence: v.record(v.picklist(sources), v.array(offset)),
  reason: v.optional(v.string()),
});

/** Where a function begins that programs attach to. Absent: the library has none. */
export const functionSchema = v.strictObject({
  /** Its address in the file's program headers, before relocation. */
  address: v.nullable(offset),
  /** Where it begins in the file, in bytes, which is what a uprobe takes. */
  offset: v.nullable(offset),
  status: v.picklist(statuses),
  /** Addresses, by what told them: the file's symbols, or strings and tables that lead to its code. */
  evidence: v.record(v.picklist(["symbols", "references"]), v.array(offset)),
  reason: v.optional(v.string()),
});

const fields = v.record(constantName, fieldSchema);
const functions = v.record(constantName, functionSchema);

/** What this host is and allows. `null`: it could not be told, a diagnostic says why. */
export const hostSchema = v.strictObject({
  kernel: v.strictObject({
    release: v.string(),
    version: v.strictTuple([v.number(), v.number(), v.number()]),
    distro: v.nullable(v.string()),
    machine: v.string(),
  }),
  lockdown: v.nullable(v.picklist(["none", "integrity", "confidentiality"])),
  btf: triState,
  kprobes: triState,
  raw_tracepoints: triState,
  tracefs: triState,
  privileges: v.array(v.string()),
});

/** What a document tells of a host of which no more is known than its kernel. */
export const unknownHost: Omit<HostReport, "kernel"> = {
  lockdown: null,
  btf: null,
  kprobes: null,
  raw_tracepoints: null,
  tracefs: null,
  privileges: [],
};

/** A kernel's constants. */
export const kernelSchema = v.strictObject({
  /** The file that it was read from, of a kernel that does not run here. */
  image: v.optional(v.strictObject({ path: v.string(), build_id: v.nullable(v.string()) })),
  bytecode: v.nullable(v.string()),
  strategy: v.nullable(v.picklist(strategies)),
  attached: v.array(v.string()),
  events: v.number(),
  /** How many attempts the stepwise strategy took; the answer is of the last one. */
  attempts: v.optional(v.number()),
  duration_ms: v.number(),
  constants,
  fields,
});

/** What is known of a file with a TLS library in it. */
export const librarySchema = v.strictObject({ ...libraryEntries, constants, fields, functions });

/** A library in a document: the same, with the eBPF object that reads its connections on this kernel. */
export const tlsSchema = v.strictObject({
  ...libraryEntries,
  /** The embedded eBPF object for the library and the kernel: see `offsetof bytecode`. */
  bytecode: v.nullable(v.string()),
  bytecode_reason: v.string(),
  constants,
  fields,
  /** By name, such as `SSL_read`; of a program without symbols, too. */
  functions,
});

/** Everything offsetof prints under `--format json`. */
export const documentSchema = v.strictObject({
  format_version: v.literal(formatVersion),
  tool: v.strictObject({
    name: v.literal("offsetof"),
    version: v.string(),
    arch: v.string(),
    /** The C library that runs: `glibc` with the host's version, or `musl` with that of the one inside the executable. */
    libc: v.pipe(v.string(), v.regex(/^(glibc|musl)( \d+(\.\d+)+)?$/)),
  }),
  host: hostSchema,
  kernel: v.optional(kernelSchema),
  tls: v.optional(v.array(tlsSchema)),
  /** With `--verify`. */
  verify: v.optional(verifiedSchema),
  diagnostics: v.array(diagnosticSchema),
});

export type HostReport = v.InferOutput<typeof hostSchema>;
export type KernelReport = v.InferOutput<typeof kernelSchema>;
export type LibraryReport = v.InferOutput<typeof librarySchema>;
export type TlsReport = v.InferOutput<typeof tlsSchema>;
export type FunctionReport = v.InferOutput<typeof functionSchema>;
export type FieldReport = v.InferOutput<typeof fieldSchema>;
export type Document = v.InferOutput<typeof documentSchema>;
