import type { Status } from "../offsets/truth.ts";
import type { Baked, BytecodeList } from "./bytecode-schema.ts";
import { type Cell, colours, columns, heading, paper, type Screen, statusCell } from "./columns.ts";
import type { ConfigDocument } from "./config-schema.ts";
import type { Document, HostReport, KernelReport, TlsReport } from "./document.ts";
import type { GatewayDocument } from "./gateway-schema.ts";
import { printable } from "./printable.ts";
import type { Verified, VerifiedKernel, VerifiedTls, Verify } from "./verify-schema.ts";

/** Statuses whose rows stand first, the worst before the others; all other statuses are equally good. */
const worst: readonly Status[] = ["conflict", "unresolved", "assumed"];
const rankOf = (status: Status): number => (worst.includes(status) ? worst.indexOf(status) : worst.length);

/** The document as a table for people, as wide as the screen. */
export function toTable(document: Document, screen: Screen = paper): string {
  const { tool, host, kernel, tls, verify, diagnostics } = document;
  const blocks = [
    `${tool.name} ${tool.version} (${tool.arch}, ${tool.libc})`,
    hostBlock(host),
    ...(kernel === undefined ? [] : [kernelBlock(kernel, screen)]),
    ...(tls ?? []).map((library) => tlsBlock(library, screen)),
    ...(tls?.length === 0 ? ["TLS  no library found"] : []),
    ...(verify === undefined ? [] : verifiedBlocks(verify, screen)),
    ...diagnosticsBlocks(diagnostics, screen),
  ];
  return `${blocks.join("\n\n")}\n`;
}

/** The settings as a table for people. */
export function toConfigTable({ config }: ConfigDocument, screen: Screen = paper): string {
  const rows = Object.entries(config).map(([key, { value, from }]) => [key, String(value), from]);
  return `${columns([["SETTING", "VALUE", "FROM"], ...rows], { screen }).join("\n")}\n`;
}

/** The embedded objects as a table for people. */
export function toBytecodeTable({ bytecode }: BytecodeList, screen: Screen = paper): string {
  const rows = bytecode.map(({ name, programs, constants, size, ...object }) => [
    name,
    object.for,
    `${programs.length}`,
    `${constants.length}`,
    `${size}`,
  ]);
  return `${columns([["NAME", "FOR", "PROGRAMS", "CONSTANTS", "BYTES"], ...rows], { screen }).join("\n")}\n`;
}

/** What was written into an object, as a table for people. */
export function toBakedTable(
  { output, bytecode, bytecode_reason: reason, constants, set = {}, ...baked }: Baked,
  screen: Screen = paper,
): string {
  const rows = [...Object.entries(constants), ...Object.entries(set)].map(([name, value]) => [
    name,
    value?.toString() ?? "absent",
  ]);
  const head = heading(`${printable(output)}  ${facts([bytecode, reason, `for ${baked.for}`])}`, screen);
  return `${head}\n${columns([["CONSTANT", "VALUE"], ...rows], { screen }).join("\n")}\n`;
}

/** A verification as a table for people. */
export const toVerifyTable = ({ verify }: Verify, screen: Screen = paper): string =>
  `${verifiedBlocks(verify, screen).join("\n\n")}\n`;

const verifiedBlocks = ({ kernel, tls = [] }: Verified, screen: Screen): readonly string[] => [
  ...(kernel === undefined ? [] : [verifiedKernel(kernel, screen)]),
  ...tls.map((library) => verifiedTls(library, screen)),
];

/** The cell that says whether all comparisons held. */
const held = (isHeld: boolean): Cell =>
  isHeld ? { text: "held", colour: colours.green } : { text: "WRONG", colour: colours.red };

function verifiedKernel(kernel: VerifiedKernel, screen: Screen): string {
  const rows = Object.entries(kernel.constants).map(([name, { compared, held: right, mismatch }]) => [
    name,
    `${right} of ${compared}`,
    held(right === compared),
    mismatch === undefined
      ? ""
      : `${mismatch.socket}: ${mismatch.got ?? "nothing"}, not ${mismatch.expected}`,
  ]);
  const missing = kernel.not_compared.map((name) => [name, "-", "not compared", ""]);
  const unseen = Object.entries(kernel.not_seen).map(([socket, { sockets, reason }]) => [
    socket,
    `${sockets}`,
    "not seen",
    reason,
  ]);
  const header = ["CONSTANT", "HELD", "RESULT", "FIRST MISMATCH"];
  const table = columns([header, ...rows, ...missing, ...unseen], { screen });
  const head = `VERIFIED  ${facts(["kernel", kernel.bytecode, kernel.attached.join(" ")])}`;
  return [heading(head, screen), ...table].join("\n");
}

function verifiedTls(
  { path, bytecode, connections, ends, missed, events, lost, ...library }: VerifiedTls,
  screen: Screen,
): string {
  const counts = [`${connections} connections`, `${ends} ends`, `${events} events`];
  const gaps = [missed > 0 ? `${missed} ends MISSED` : null, lost > 0 ? `${lost} events LOST` : null];
  const told = facts([bytecode, ...counts, ...gaps, library.reason ?? null]);
  const head = heading(`VERIFIED  ${printable(path)}  ${told}`, screen);
  const rows = Object.entries(library.items).map(([item, { compared, held: right, constants }]) => [
    item,
    `${right} of ${compared}`,
    held(right === compared),
    constants.join(" "),
  ]);
  const missing = library.not_compared.map((name) => [
    "-",
    "-",
    library.not_known.includes(name) ? "not known" : "not compared",
    name,
  ]);
  if (rows.length + missing.length === 0) return head;
  const table = columns([["ITEM", "HELD", "RESULT", "CONSTANTS"], ...rows, ...missing], { screen });
  return [head, ...table].join("\n");
}

/** One gateway lookup as a table for people. */
export function toGatewayTable({ gateway: answer }: GatewayDocument, screen: Screen = paper): string {
  const { reasons, interface: link, subnet } = answer;
  const to = answer.translated === undefined ? "" : ` (translated to ${answer.translated})`;
  const rows = [
    ["source", answer.source ?? "the kernel's choice", ""],
    ["destination", `${answer.destination}${to}`, ""],
    ["netns", String(answer.netns ?? "none"), ""],
    ["route", answer.route ?? "-", ""],
    ["gateway", answer.gateway ?? "-", reasons.gateway ?? ""],
    ["interface", link === null ? "-" : `${link.name} (${link.index})`, reasons.interface ?? ""],
    [
      "subnet",
      subnet === null ? "-" : [subnet.alias, subnet.cidr, `by ${subnet.source}`].filter(Boolean).join(" "),
      reasons.subnet ?? "",
    ],
  ];
  return `${columns(rows, { screen }).join("\n")}\n`;
}

const state = (value: boolean | null): string => (value === null ? "unknown" : value ? "yes" : "no");

/** What kind of host it is, a fact a line. */
export function hostBlock({ kernel, ...host }: HostReport): string {
  const facts: readonly (readonly [string, string])[] = [
    ["kernel", `${kernel.version.join(".")} (${kernel.release})`],
    ["built by", kernel.distro ?? "unknown"],
    ["machine", kernel.machine],
    ["lockdown", host.lockdown ?? "unknown"],
    ["btf", state(host.btf)],
    ["kprobes", state(host.kprobes)],
    ["raw tracepoints", state(host.raw_tracepoints)],
    ["tracefs", state(host.tracefs)],
    ["privileges", `${host.privileges.length === 0 ? "none" : host.privileges.length} effective`],
  ];
  return ["HOST", ...facts.map(([name, value]) => `${name.padEnd(16)}${printable(value)}`)].join("\n");
}

function kernelBlock(kernel: KernelReport, screen: Screen): string {
  const { image } = kernel;
  const how = [
    image === undefined ? null : printable(image.path),
    image?.build_id ?? null,
    kernel.strategy,
    kernel.bytecode,
    kernel.attached.join(" "),
    image === undefined ? `${kernel.events} events in ${kernel.duration_ms.toFixed(1)} ms` : null,
  ];
  return `${heading(`KERNEL  ${facts(how)}`, screen)}\n${fieldTable(kernel.fields, screen)}`;
}

function tlsBlock(tls: TlsReport, screen: Screen): string {
  const layout = tls.layout === null ? null : `${tls.layout} (${tls.match ?? "no match"})`;
  const pids = tls.used_by.length === 0 ? null : `used by ${tls.used_by.join(" ")}`;
  const how = [
    `${tls.library} ${tls.version ?? "of unknown version"}`,
    layout,
    tls.bytecode,
    tls.build_id,
    pids,
  ];
  const where = [
    tls.path ?? "no file",
    tls.deleted === true ? "(deleted)" : null,
    tls.root && `in ${tls.root}`,
  ];
  return `TLS  ${where
    .filter(Boolean)
    .map((text) => printable(text ?? ""))
    .join(
      " ",
    )}\n${heading(facts(how), screen)}\n${fieldTable(tls.fields, screen)}${functionTable(tls.functions, screen)}`;
}

const facts = (texts: readonly (string | null)[]): string =>
  texts
    .filter((text) => text !== null && text !== "")
    .map((text) => printable(text ?? ""))
    .join(" · ");

const fieldTable = (fields: KernelReport["fields"], screen: Screen): string =>
  statusTable(
    ["CONSTANT", "OFFSET", "STATUS", "MEMBER", "REASON"],
    Object.entries(fields).map(([constant, { value, status, member, reason = "" }]) => ({
      status,
      reason,
      cells: [constant, value?.toString() ?? "-", statusCell(status), member],
    })),
    { right: [1], screen },
  );

/** The table of functions, which stands behind that of the constants; empty where nothing is told of functions. */
function functionTable(functions: TlsReport["functions"], screen: Screen): string {
  const rows = Object.entries(functions).map(([name, { address, offset, status, reason = "" }]) => ({
    status,
    reason,
    cells: [name, hex(address), hex(offset), statusCell(status)],
  }));
  if (rows.length === 0) return "";
  const header = ["FUNCTION", "ADDRESS", "IN FILE", "STATUS", "REASON"];
  return `\n${statusTable(header, rows, { right: [1, 2], screen })}`;
}

const hex = (value: number | null): string => (value === null ? "-" : `0x${value.toString(16)}`);

interface StatusRow {
  readonly status: Status;
  readonly reason: string;
  readonly cells: readonly Cell[];
}

/** What stands for the reason of the row above. */
const DITTO = '"';

/** The worst first; rows that share a reason stand together, and it is told once. Where none has one there is no column of reasons. */
function statusTable(
  header: readonly string[],
  rows: readonly StatusRow[],
  how: Parameters<typeof columns>[1],
): string {
  const groups = [...Map.groupBy(rows, ({ status, reason }) => `${rankOf(status)} ${reason}`).values()];
  const byRank = groups.sort(
    ([one], [other]) => rankOf(one?.status ?? "absent") - rankOf(other?.status ?? "absent"),
  );
  const told = byRank.flatMap((group) =>
    group.map(({ cells, reason }, at) => [...cells, at > 0 && reason !== "" ? DITTO : reason]),
  );
  const hasReasons = rows.some(({ reason }) => reason !== "");
  const shown = [header, ...told].map((cells) => (hasReasons ? cells : cells.slice(0, -1)));
  return columns(shown, how).join("\n");
}

/** The diagnostics, a row each, in a block where there are any: what failed in red, what is only told in yellow. */
export const diagnosticsBlocks = (diagnostics: Document["diagnostics"], screen: Screen): string[] => {
  if (diagnostics.length === 0) return [];
  const rows = diagnostics.map(({ code, message }): readonly Cell[] => [
    { text: code, colour: code.startsWith("E_") ? colours.red : colours.yellow },
    message,
  ]);
  return [["DIAGNOSTICS", ...columns(rows, { screen })].join("\n")];
};
