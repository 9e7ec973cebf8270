import { parseArgs } from "node:util";
import type { ArgsDef, ParsedArgs } from "citty";
import { usage } from "../output/failure.ts";
import { didYouMean } from "../output/suggest.ts";
import { type FlagName, flagName, type SettingKey, settingKeys, settings } from "./settings.ts";

/** How a result can be printed. */
export const formats = ["json", "table"] as const;
/** How a document with constants can be printed. */
export const documentFormats = [...formats, "env", "header"] as const;

interface SettingFlag {
  readonly type: "string";
  readonly valueHint: string;
  readonly description: string;
}

/** One flag a setting; the setting's own checks apply to what they are given. */
const settingFlags = Object.fromEntries(settingKeys.map((key) => [flagName(key), flagOf(key)])) as Readonly<
  Record<FlagName, SettingFlag>
>;

function flagOf(key: SettingKey): SettingFlag {
  const { allowed, hint, description, standard } = settings[key];
  const usual = String(standard) || "none";
  return {
    type: "string",
    valueHint: hint,
    description: `${description}${hint.includes("|") ? "" : `: ${allowed}`} (default: ${usual})`,
  };
}

/** Flags that every command takes, parsed. */
export type Flags = ParsedArgs<typeof flags>;

/** Flags that every command takes. */
export const flags = {
  format: {
    type: "enum",
    options: [...formats],
    description: "Output format (default: table on a terminal, json otherwise)",
  },
  quiet: { type: "boolean", description: "No messages on stderr but errors" },
  verbose: { type: "boolean", description: "More messages on stderr, stack traces with errors" },
  help: { type: "boolean", alias: "h", description: "Show this text" },
  version: { type: "boolean", description: "Show the version" },
  config: {
    type: "string",
    valueHint: "FILE",
    description: "Settings (default: /etc/offsetof.json, if it is there)",
  },
  ...settingFlags,
} as const satisfies ArgsDef;

/** Flags of commands that print a document, parsed. */
export type DocumentFlags = ParsedArgs<typeof documentFlags>;

/** What commands take that print a document. */
export const documentFlags = {
  ...flags,
  format: { ...flags.format, options: [...documentFormats] },
  export: { type: "boolean", description: "With --format env: export each variable" },
  only: { type: "string", valueHint: "NAME,...", description: "These constants alone" },
  get: {
    type: "string",
    valueHint: "NAME",
    description: "Print this constant's bare number, or nothing and end with 3 when it is not known",
  },
} as const satisfies ArgsDef;

/** Flags of the run command, parsed. */
export type RunFlags = ParsedArgs<typeof runFlags>;

/** What the run command takes. */
export const runFlags = {
  verify: {
    type: "boolean",
    description:
      "Also prove the constants, as verify kernel and verify tls do (exit code 3 where one did not hold)",
  },
  ...documentFlags,
} as const satisfies ArgsDef;

const constantsFlags = {
  constants: {
    type: "string",
    valueHint: "FILE",
    description: "A document of offsetof with the constants (default: they are measured on this machine)",
  },
  release: {
    type: "string",
    valueHint: "RELEASE",
    description: "With --constants: the kernel that is meant, as uname -r names it",
  },
  "build-id": {
    type: "string",
    valueHint: "HEX",
    description: "With --constants: the TLS library that is meant",
  },
} as const;

const imageFlag = {
  type: "string",
  valueHint: "FILE",
  description:
    "A kernel that does not run here, by its BTF: vmlinux, vmlinuz, Image, a .deb or .rpm with one, or raw BTF",
} as const;

/** Which document, and what in it, parsed. */
export interface ConstantsFlags {
  readonly constants?: string | undefined;
  readonly release?: string | undefined;
  readonly "build-id"?: string | undefined;
}

/** What the btf command takes, parsed. Positional arguments are in `_`. */
export type BtfFlags = ParsedArgs<typeof btfFlags>;

/** What the btf command takes. */
export const btfFlags = {
  object: {
    type: "positional",
    required: false,
    valueHint: "OBJECT.o...",
    description: "With --for: more objects",
  },
  output: {
    type: "string",
    alias: "o",
    valueHint: "FILE",
    description: "Where the BTF is written; - is standard output",
  },
  elf: {
    type: "boolean",
    description: "As an ELF file with a section .BTF, which some loaders need",
  },
  for: {
    type: "string",
    valueHint: "OBJECT.o",
    description:
      "Tell which programs of these eBPF objects would relocate against the BTF, and what they miss (exit code 3 where one does)",
  },
  image: { ...imageFlag, description: `${imageFlag.description}; its own BTF is written` },
  minimal: { type: "boolean", description: "With --for: write only the types that those objects need" },
  install: {
    type: "boolean",
    description: "Tell where loaders look for BTF and what they read there; nothing is written",
  },
  ...constantsFlags,
  ...flags,
} as const satisfies ArgsDef;

const memberFlag = {
  type: "string",
  valueHint: "TYPE.MEMBER,...",
  description:
    "Any member of the kernel's types, such as task_struct.pid, sk_buff.cloned or nf_conn.tuplehash[1]; sizeof:TYPE, enum:NAME",
} as const;

/** Flags of the kernel command, parsed. */
export type KernelFlags = ParsedArgs<typeof kernelFlags>;

/** What the kernel command takes. */
export const kernelFlags = {
  file: {
    type: "positional",
    required: false,
    valueHint: "FILE...",
    description: "With --image: more of them",
  },
  image: {
    ...imageFlag,
    description: `${imageFlag.description}; of a folder or an unpacked root each that is in it (several: a line of JSON each)`,
  },
  member: memberFlag,
  vocabulary: {
    type: "enum",
    options: ["datadog", "datadog-cws", "deepflow", "nettracer", "tcptracer"],
    description: "What this program asks for, under its names",
  },
  all: {
    type: "boolean",
    description: "Also the members of tasks, files and namespaces that can be measured without BTF",
  },
  ...constantsFlags,
  ...documentFlags,
} as const satisfies ArgsDef;

/** Flags of the tls command alone, parsed. Positional arguments are in `_`. */
export type TlsFlags = ParsedArgs<typeof tlsFlags>;

/** What the tls command takes. */
export const tlsFlags = {
  path: {
    type: "positional",
    required: false,
    valueHint: "PATH...",
    description:
      "Libraries, or programs with one inside or linked; of a folder all in and below it, which is not executed (default: all of this machine)",
  },
  root: {
    type: "string",
    valueHint: "DIR",
    description:
      "Look in this tree instead, such as an unpacked image or a mounted disk; nothing in it is executed, and PATH is of it",
  },
  pid: { type: "string", valueHint: "PID", description: "Only what this process uses" },
  all: {
    type: "boolean",
    description: "Also what no process uses: programs on disk, libraries in containers",
  },
  watch: {
    type: "boolean",
    description:
      "Go on, and print a line of JSON for each library or program that processes begin to use, cease to use, or have replaced",
  },
  "version-text": {
    type: "string",
    valueHint: "TEXT",
    description: 'What the table says of a version, such as "openssl 3.0.12", without looking at any file',
  },
  ...constantsFlags,
  ...documentFlags,
} as const satisfies ArgsDef;

/** Flags of the gateway command alone, parsed. Positional arguments are in `_`. */
export type GatewayFlags = ParsedArgs<typeof gatewayFlags>;

/** What the gateway command takes. */
export const gatewayFlags = {
  src: {
    type: "positional",
    required: false,
    valueHint: "SRC",
    description: "Source address; 0.0.0.0 or ::, and the kernel chooses",
  },
  dst: { type: "positional", required: false, valueHint: "DST", description: "Destination address" },
  netns: {
    type: "string",
    valueHint: "PATH|PID",
    description: "Network namespace to look in, by path or process (default: the one this runs in)",
  },
  translated: {
    type: "string",
    valueHint: "ADDR",
    description: "What NAT makes of the destination: the source of the replies; its route is looked up",
  },
  cloud: { type: "enum", options: ["aws"], description: "Ask this cloud's metadata service for the subnet" },
  imds: {
    type: "string",
    valueHint: "URL",
    description: "Where that service answers (default: http://169.254.169.254)",
  },
  batch: {
    type: "boolean",
    description: "Read lines of SRC DST [NETNS] from stdin, print a line of JSON for each",
  },
  ...flags,
} as const satisfies ArgsDef;

/** What the commands that write an eBPF object share, parsed. */
export type BakeFlags = ParsedArgs<typeof bakeFlags>;

const bakeFlags = {
  member: { ...memberFlag, description: `With --for kernel: also ${memberFlag.description.toLowerCase()}` },
  for: {
    type: "string",
    valueHint: "kernel|PATH",
    description: "Whose constants: the kernel's, or those of the library at PATH or inside it",
  },
  output: {
    type: "string",
    alias: "o",
    valueHint: "FILE",
    description: "Where the object goes; - is standard output",
  },
  image: imageFlag,
  ...constantsFlags,
  "allow-missing": { type: "boolean", description: "Leave out what is not known (exit code 3)" },
  set: {
    type: "string",
    valueHint: "NAME=VALUE",
    description:
      "The value of a symbol that is no constant, or instead of a constant's: an unsigned integer, decimal or 0x...; as often as needed",
  },
  ...flags,
} as const satisfies ArgsDef;

/** What the verify kernel command takes. */
export const verifyFlags = {
  ...constantsFlags,
  ...flags,
} as const satisfies ArgsDef;

/** Flags of the verify tls command, parsed. */
export type VerifyTlsFlags = ParsedArgs<typeof verifyTlsFlags>;

/** What the verify tls command takes. */
export const verifyTlsFlags = {
  path: {
    type: "positional",
    required: false,
    valueHint: "PATH",
    description:
      "A library, or a program with one inside or linked (default: all of this machine, or what --pid uses)",
  },
  pid: {
    type: "string",
    valueHint: "PID",
    description: "With --against: watch the connections of this process alone",
  },
  against: {
    type: "string",
    valueHint: "KEYLOG",
    description:
      "Watch connections instead, and compare with the key log that a program writes: SSLKEYLOGFILE, or --tls-keylog of Node.js",
  },
  seconds: {
    type: "string",
    valueHint: "N",
    description: "With --against: how long to watch (default: 10); SIGINT ends it sooner",
  },
  ...verifyFlags,
} as const satisfies ArgsDef;

/** What the explain command takes. */
export const explainFlags = {
  name: {
    type: "positional",
    required: false,
    valueHint: "NAME",
    description: "A constant, a function, or a member such as task_struct.pid",
  },
  path: {
    type: "positional",
    required: false,
    valueHint: "PATH...",
    description: "Of a TLS library's: libraries or programs (default: all of this machine)",
  },
  ...flags,
} as const satisfies ArgsDef;

/** What the diff command takes. */
export const diffFlags = {
  old: {
    type: "positional",
    required: false,
    valueHint: "OLD",
    description: "A document of offsetof, or a kernel's image; - is standard input",
  },
  new: {
    type: "positional",
    required: false,
    valueHint: "NEW",
    description: "Another (default: this machine, which is looked at now)",
  },
  ...flags,
} as const satisfies ArgsDef;

/** What the merge command takes. */
export const mergeFlags = {
  input: {
    type: "positional",
    required: false,
    valueHint: "FILE...",
    description: "Documents, NDJSON of them, or folders with such files; - is standard input",
  },
  ...flags,
} as const satisfies ArgsDef;

/** What the bytecode extract command takes. */
export const extractFlags = {
  name: {
    type: "positional",
    required: false,
    valueHint: "NAME",
    description:
      "An object of offsetof bytecode list (default: the one that serves the kernel and the library)",
  },
  ...bakeFlags,
} as const satisfies ArgsDef;

/** What the bytecode edit command takes. */
export const editFlags = {
  input: {
    type: "positional",
    required: false,
    valueHint: "IN.o",
    description: "The object; it is not changed",
  },
  ...bakeFlags,
} as const satisfies ArgsDef;

/**
 * Checks arguments against a command's definition, since citty takes unknown ones in silence.
 * @throws Failure of wrong usage that names the argument and what is allowed.
 */
export function checkUsage(args: readonly string[], definition: ArgsDef, command: string): void {
  const takesPositionals = Object.values(definition).some((flag) => flag.type === "positional");
  const named = namedIn(definition);
  for (const token of tokensOf(args, definition)) {
    if (token.kind === "positional") {
      if (takesPositionals && token.value !== "") continue;
      throw usage(`unexpected argument "${token.value}"; the command comes first, see "${command} --help"`);
    }
    if (token.kind !== "option") continue;
    const flag = named.find(([name]) => name === token.name)?.[1];
    if (flag === undefined) {
      const hint = didYouMean(
        token.name,
        named.map(([name]) => name),
        "--",
      );
      throw usage(`unknown flag "${token.rawName}"${hint}; see "${command} --help"`);
    }
    if (flag.type === "boolean") {
      if (token.value !== undefined) throw usage(`--${token.name} takes no value`);
      continue;
    }
    const isFlag = token.value !== "-" && !token.inlineValue && token.value?.startsWith("-") === true;
    if (token.value === undefined || isFlag) {
      throw usage(`--${token.name} needs a value${allowed(flag)}`);
    }
    if (flag.type === "enum" && !flag.options?.includes(token.value)) {
      throw usage(`--${token.name} cannot be "${token.value}"${allowed(flag)}`);
    }
  }
}

/** All values of a flag that may be given more than once, of which citty keeps the last. */
export const everyValue = (args: readonly string[], definition: ArgsDef, flag: string): readonly string[] =>
  tokensOf(args, definition).flatMap((token) =>
    token.kind === "option" && token.name === flag ? (token.value ?? []) : [],
  );

const namedIn = (definition: ArgsDef) =>
  Object.entries(definition).filter(([, flag]) => flag.type !== "positional");

function tokensOf(args: readonly string[], definition: ArgsDef) {
  const options = Object.fromEntries(
    namedIn(definition).map(([name, flag]) => [
      name,
      {
        type: flag.type === "boolean" ? ("boolean" as const) : ("string" as const),
        ...("alias" in flag && typeof flag.alias === "string" ? { short: flag.alias } : {}),
      },
    ]),
  );
  return parseArgs({
    args: [...args],
    options,
    strict: false,
    tokens: true,
    allowPositionals: true,
  }).tokens;
}

const allowed = (flag: ArgsDef[string]): string =>
  flag.type === "enum" && flag.options !== undefined ? `: ${flag.options.join(" or ")}` : "";
