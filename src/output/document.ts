import * as v from "valibot";
import { questions } from "../btf/core-question.ts";
import { sources, tableMatches } from "../offsets/evidence.ts";
import { statuses } from "../offsets/truth.ts";

/** Version of the document's shape: a minor step adds, a major step breaks. */
export const formatVersion = "2.1";

/** How the kernel can be guessed. */
export const strategies = ["snapshot", "stepwise"] as const;
export type Strategy = (typeof strategies)[number];

const offset = v.pipe(v.number(), v.integer(), v.minValue(0));
/** A published name: an identifier of C and of a shell, so that no format has to quote it. */
export const constantName = v.pipe(
  v.string(),
  v.regex(/^[A-Za-z_]\w*$/, "a constant's name is an identifier"),
);
const constants = v.record(constantName, v.nullable(offset));

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
const triState = v.nullable(v.boolean());

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

/** TLS libraries that are told apart. */
export const libraries = [
  "openssl",
  "boringssl",
  "gnutls",
  "aws-lc",
  "libressl",
  "tongsuo",
  "unknown",
] as const;

const library = {
  /**
   * Inside `root`; as it was given where an absolute path was named. Bytes that are not of UTF-8 are `\xff`. Null where a version was
   * asked for instead of a file.
   */
  path: v.nullable(v.string()),
  /** Where the tree it lies in begins, such as a container's `/proc/PID/root`; without it, the machine's own. */
  root: v.optional(v.string()),
  /** It is no longer at its path: processes still use it. */
  deleted: v.optional(v.literal(true)),
  build_id: v.nullable(v.string()),
  library: v.picklist(libraries),
  version: v.nullable(v.string()),
  version_from: v.nullable(v.string()),
  /** The group of constants that equals what was measured, as far as that goes. */
  layout: v.nullable(v.string()),
  /** The group that its version names. */
  described: v.nullable(v.string()),
  /** How the group was chosen that the table speaks of. */
  match: v.nullable(v.picklist(tableMatches)),
  used_by: v.array(v.number()),
};

/** What is known of a file with a TLS library in it. */
export const librarySchema = v.strictObject({ ...library, constants, fields, functions });

/** A library in a document: the same, with the eBPF object that reads its connections on this kernel. */
export const tlsSchema = v.strictObject({
  ...library,
  /** The embedded eBPF object for the library and the kernel: see `offsetof bytecode`. */
  bytecode: v.nullable(v.string()),
  bytecode_reason: v.string(),
  constants,
  fields,
  /** By name, such as `SSL_read`; of a program without symbols, too. */
  functions,
});

const watched = {
  format_version: v.literal(formatVersion),
  /** When it was seen, as RFC 3339 has it. */
  time: v.pipe(v.string(), v.regex(/^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z$/)),
};
/** Which file a line is of: keys as in `tls` of a document. `used_by`: the processes that execute it now. */
const watchedFile = {
  path: v.string(),
  root: v.optional(v.string()),
  build_id: v.nullable(v.string()),
  used_by: v.array(v.number()),
};

/** A line of what `offsetof tls --watch` prints. */
export const watchLineSchema = v.variant("event", [
  /** A file with a TLS library in it that no process used before. */
  v.strictObject({ ...watched, event: v.literal("used"), library: tlsSchema }),
  /** No process uses it any more. */
  v.strictObject({ ...watched, event: v.literal("unused"), ...watchedFile }),
  /** Another file lies at its path, or its content was replaced: `library` is what is there now, null where no TLS library is. */
  v.strictObject({
    ...watched,
    event: v.literal("replaced"),
    ...watchedFile,
    library: v.nullable(tlsSchema),
  }),
  /** All that was used at the start has been told; from now on what changes is. */
  v.strictObject({
    ...watched,
    event: v.literal("watching"),
    /** `process_events`: programs are looked at as they start and end; `polling`: all processes, in turn. */
    by: v.picklist(["process_events", "polling"]),
    reason: v.optional(v.string()),
  }),
]);

/** Something the reader should know that belongs to no single field. */
export const diagnosticSchema = v.strictObject({
  code: v.pipe(v.string(), v.regex(/^[EW]_[A-Z0-9_]+$/)),
  message: v.string(),
});

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

const planned = {
  /** `null`: only trying would tell. */
  would: triState,
  reason: v.string(),
};
/** Whether a source would speak. */
const sourcePlan = v.strictObject(planned);

/** What would be done to learn of the running kernel. */
export const kernelPlanSchema = v.strictObject({
  sources: v.strictObject({ guess: sourcePlan, btf: sourcePlan }),
  strategy: v.nullable(v.picklist(strategies)),
  /** The eBPF object that would be loaded. */
  bytecode: v.nullable(v.string()),
  /** By struct: the rung of its ladder that would be attached. Empty where nothing would be guessed. */
  structs: v.record(v.string(), v.strictObject({ rung: v.nullable(v.string()), ...planned })),
});

/** What would be done to learn of a TLS library. Keys as in `tls` of a document. */
export const tlsPlanSchema = v.strictObject({
  path: v.string(),
  root: v.optional(v.string()),
  deleted: v.optional(v.literal(true)),
  build_id: v.nullable(v.string()),
  library: tlsSchema.entries.library,
  version: v.nullable(v.string()),
  version_from: v.nullable(v.string()),
  described: v.nullable(v.string()),
  match: v.nullable(v.picklist(tableMatches)),
  used_by: v.array(v.number()),
  /** The eBPF object that would be picked, by the version alone: what would be measured may tell another. */
  bytecode: v.nullable(v.string()),
  bytecode_reason: v.string(),
  sources: v.strictObject({
    probe: sourcePlan,
    code: sourcePlan,
    references: sourcePlan,
    table: sourcePlan,
  }),
});

/** What `offsetof detect --format json` prints. */
export const detectDocumentSchema = v.strictObject({
  format_version: v.literal(formatVersion),
  tool: documentSchema.entries.tool,
  host: hostSchema,
  detect: v.strictObject({
    kernel: kernelPlanSchema,
    tls: v.array(tlsPlanSchema),
    missing: v.array(
      v.strictObject({
        what: v.string(),
        why: v.string(),
        /** What is not known without it. */
        cost: v.string(),
        /** The one command, capability or setting that would change it. */
        help: v.string(),
      }),
    ),
  }),
  diagnostics: v.array(diagnosticSchema),
});

/** What `offsetof config --format json` prints: each setting, and where its value came from. */
export const configDocumentSchema = v.strictObject({
  format_version: v.literal(formatVersion),
  config: v.record(
    v.string(),
    v.strictObject({
      value: v.union([v.string(), v.number(), v.boolean(), v.array(v.string())]),
      /** `default`, a file's path, or the name of a variable or flag. */
      from: v.string(),
    }),
  ),
});

export type KernelPlan = v.InferOutput<typeof kernelPlanSchema>;
export type TlsPlan = v.InferOutput<typeof tlsPlanSchema>;
export type DetectDocument = v.InferOutput<typeof detectDocumentSchema>;
/** What `offsetof bytecode list --format json` prints. */
export const bytecodeListSchema = v.strictObject({
  format_version: v.literal(formatVersion),
  bytecode: v.array(
    v.strictObject({
      name: v.string(),
      /** The subject whose constants are written into it. */
      for: v.picklist(["kernel", "tls"]),
      /** Bytes of the object. */
      size: v.number(),
      programs: v.array(v.strictObject({ name: v.string(), section: v.string() })),
      constants: v.array(v.string()),
    }),
  ),
});

/** What `offsetof bytecode extract` and `edit` print of the object that they wrote. */
export const bakedSchema = v.strictObject({
  format_version: v.literal(formatVersion),
  /** Path of the object that was written. */
  output: v.string(),
  /** The embedded object, or null where one was given. */
  bytecode: v.nullable(v.string()),
  bytecode_reason: v.string(),
  /** `kernel`, or the library's path. */
  for: v.string(),
  /** What was written into it; null: left absent. */
  constants,
  /** What --set gave besides, in decimal: such a value may have 64 bits, which a number of JSON does not hold. */
  set: v.optional(v.record(v.string(), v.pipe(v.string(), v.regex(/^\d+$/)))),
});

/** What `offsetof verify` prints. */
export const verifySchema = v.strictObject({
  format_version: v.literal(formatVersion),
  verify: verifiedSchema,
});

/** What became of a constant from one document to the other. */
export const changes = ["moved", "appeared", "lost", "surer", "less_sure"] as const;

const changeSchema = v.strictObject({
  change: v.picklist(changes),
  from: v.nullable(offset),
  to: v.nullable(offset),
  /** Null: that document does not have the constant, or was written by hand. */
  from_status: v.nullable(v.picklist(statuses)),
  to_status: v.nullable(v.picklist(statuses)),
  /** Why there is no number any more. */
  reason: v.optional(v.string()),
});

/** One side of a comparison of libraries. */
const comparedLibrary = v.strictObject({
  path: library.path,
  root: library.root,
  deleted: library.deleted,
  build_id: library.build_id,
  library: v.string(),
  version: library.version,
  layout: library.layout,
  bytecode: v.nullable(v.string()),
});

const comparedKernel = v.strictObject({
  release: v.string(),
  arch: v.string(),
  bytecode: v.nullable(v.string()),
});

/** What `offsetof diff` prints. */
export const diffSchema = v.strictObject({
  format_version: v.literal(formatVersion),
  diff: v.strictObject({
    /** Whether all that was compared is equal: numbers, how sure they are, and the objects that are picked. */
    same: v.boolean(),
    kernel: v.optional(
      v.strictObject({
        from: comparedKernel,
        to: comparedKernel,
        constants: v.record(constantName, changeSchema),
      }),
    ),
    tls: v.optional(
      v.array(
        v.strictObject({
          /** Null: that document has no such library. */
          from: v.nullable(comparedLibrary),
          to: v.nullable(comparedLibrary),
          constants: v.record(constantName, changeSchema),
        }),
      ),
    ),
  }),
  diagnostics: v.array(diagnosticSchema),
});

/** Where a number comes from, of each part that has it. */
export const explainedSchema = v.strictObject({
  format_version: v.literal(formatVersion),
  explain: v.array(
    v.strictObject({
      constant: constantName,
      /** The kernel or the library. */
      of: v.string(),
      /** Null of a function. */
      member: v.nullable(v.string()),
      /** Bytes; of a function from the file's beginning. */
      value: v.nullable(offset),
      status: v.picklist(statuses),
      /** What the status means, in words. */
      meaning: v.string(),
      reason: v.optional(v.string()),
      evidence: v.array(
        v.strictObject({ source: v.string(), numbers: v.array(offset), meaning: v.string() }),
      ),
    }),
  ),
});

const unsure = {
  /** The surest that a machine told with this value; `conflict` where machines told different ones. */
  status: v.picklist(statuses),
  reason: v.optional(v.string()),
  /** How many machines told no number, and the first of them. */
  unknown: v.optional(v.strictObject({ machines: v.number(), first: v.array(v.string()) })),
};
/** A constant of a layout that several machines told. */
const layoutFields = v.record(constantName, v.strictObject({ member: v.string(), ...unsure }));

const layout = {
  arch: v.string(),
  /** How many documents told of it, and the first of them. */
  machines: v.number(),
  first: v.array(v.string()),
  constants,
  fields: layoutFields,
};

const told = v.union([offset, v.literal("absent")]);

/** Of a machine that tells another layout than the others do of the same thing. */
const oddSchema = v.strictObject({
  machine: v.string(),
  arch: v.string(),
  release: v.optional(v.string()),
  build_id: v.optional(v.string()),
  constants: v.record(
    constantName,
    v.strictObject({
      told,
      /** What more than half of the machines tell; null: nothing is told by as many. */
      others: v.nullable(told),
    }),
  ),
});

/** What `offsetof merge` prints: one layout for each kernel release and each build id of a TLS library. */
export const mergeSchema = v.strictObject({
  format_version: v.literal(formatVersion),
  tool: v.strictObject({ name: v.literal("offsetof"), version: v.string() }),
  documents: v.number(),
  layouts: v.strictObject({
    kernels: v.array(
      v.strictObject({ release: v.string(), version: hostSchema.entries.kernel.entries.version, ...layout }),
    ),
    libraries: v.array(
      v.strictObject({
        build_id: v.string(),
        library: library.library,
        version: library.version,
        layout: library.layout,
        described: library.described,
        match: library.match,
        /** The first of the paths that it lies at. */
        paths: v.array(v.string()),
        ...layout,
        /** Where functions lie that programs attach to. Machines that differ in it are odd by `NAME_ADDRESS` and `NAME_OFFSET`. */
        functions: v.record(
          constantName,
          v.strictObject({ address: v.nullable(offset), offset: v.nullable(offset), ...unsure }),
        ),
      }),
    ),
  }),
  /** Kernels of one layout. */
  groups: v.array(v.strictObject({ arch: v.string(), machines: v.number(), releases: v.array(v.string()) })),
  odd: v.array(oddSchema),
  /** Documents that could not be read. */
  failed: v.array(v.strictObject({ machine: v.string(), message: v.string() })),
  diagnostics: v.array(diagnosticSchema),
});

/** What CO-RE relocations ask for that a kernel's BTF does not have. */
const unmetSchema = v.array(
  v.strictObject({
    /** As C would say it, with the program's own names: `task_struct___x.__state`. */
    what: v.string(),
    question: v.picklist(questions),
    reason: v.string(),
  }),
);

/** What `offsetof btf --for` prints. */
export const relocationsSchema = v.strictObject({
  format_version: v.literal(formatVersion),
  /** Whose BTF they were held against; null where the document names none. */
  kernel: v.strictObject({ release: v.nullable(v.string()) }),
  objects: v.array(
    v.strictObject({
      path: v.string(),
      /** Whether all its functions would. */
      relocates: v.boolean(),
      /** Programs, and functions in .text that they call. */
      functions: v.array(
        v.strictObject({
          name: v.string(),
          section: v.string(),
          /** How many it has. */
          relocations: v.number(),
          relocates: v.boolean(),
          /** Whether the kernel checks it against its own BTF too, which no file stands in for. */
          needs_kernel_btf: v.boolean(),
          /** What it comes to at work: the kernel refuses the program. */
          missing: unmetSchema,
          /** What it does without: it asks first whether that is there. */
          absent: unmetSchema,
        }),
      ),
    }),
  ),
  diagnostics: v.array(diagnosticSchema),
});

/** What `offsetof btf --install` prints. */
export const placesSchema = v.strictObject({
  format_version: v.literal(formatVersion),
  /** The kernel whose BTF is looked for. */
  release: v.string(),
  places: v.array(
    v.strictObject({
      loader: v.string(),
      /** Where it looks; null: it has to be told, by `setting`. */
      file: v.nullable(v.string()),
      setting: v.nullable(v.string()),
      /** BTF alone, or an ELF file with a section .BTF. */
      format: v.picklist(["raw", "elf", "either"]),
      /** What writes such a file. */
      command: v.string(),
    }),
  ),
  diagnostics: v.array(diagnosticSchema),
});

export type Relocations = v.InferOutput<typeof relocationsSchema>;
export type Places = v.InferOutput<typeof placesSchema>;
export type Merged = v.InferOutput<typeof mergeSchema>;
export type Diff = v.InferOutput<typeof diffSchema>;
export type Explained = v.InferOutput<typeof explainedSchema>;
export type VerifiedKernel = v.InferOutput<typeof verifiedKernelSchema>;
export type VerifiedTls = v.InferOutput<typeof verifiedTlsSchema>;
export type Verified = v.InferOutput<typeof verifiedSchema>;
export type Verify = v.InferOutput<typeof verifySchema>;
export type BytecodeList = v.InferOutput<typeof bytecodeListSchema>;
export type Baked = v.InferOutput<typeof bakedSchema>;
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
export type ConfigDocument = v.InferOutput<typeof configDocumentSchema>;
export type HostReport = v.InferOutput<typeof hostSchema>;
export type KernelReport = v.InferOutput<typeof kernelSchema>;
export type LibraryReport = v.InferOutput<typeof librarySchema>;
export type TlsReport = v.InferOutput<typeof tlsSchema>;
export type FunctionReport = v.InferOutput<typeof functionSchema>;
export type FieldReport = v.InferOutput<typeof fieldSchema>;
export type Diagnostic = v.InferOutput<typeof diagnosticSchema>;
export type Document = v.InferOutput<typeof documentSchema>;
