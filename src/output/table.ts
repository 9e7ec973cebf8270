import type { Status } from "../offsets/truth.ts";
import type {
  Baked,
  BytecodeList,
  ConfigDocument,
  Document,
  GatewayDocument,
  HostReport,
  KernelReport,
  TlsReport,
  Verified,
  VerifiedKernel,
  VerifiedTls,
  Verify,
} from "./document.ts";
import { printable } from "./printable.ts";

/** SGR colour numbers: green, yellow, red. */
const statusColours: Record<Status, number> = {
  confirmed: 32,
  single: 32,
  absent: 32,
  assumed: 33,
  conflict: 31,
  unresolved: 31,
};

/** The document as a table for people; `colour` marks each status. */
export function toTable(document: Document, { colour }: { colour: boolean }): string {
  const { tool, host, kernel, tls, verify, diagnostics } = document;
  const blocks = [
    `${tool.name} ${tool.version} (${tool.arch}, ${tool.libc})`,
    hostBlock(host),
    ...(kernel === undefined ? [] : [kernelBlock(kernel, colour)]),
    ...(tls ?? []).map((library) => tlsBlock(library, colour)),
    ...(tls?.length === 0 ? ["TLS  no library found"] : []),
    ...(verify === undefined ? [] : verifiedBlocks(verify)),
    ...(diagnostics.length === 0 ? [] : [diagnosticsBlock(diagnostics)]),
  ];
  return `${blocks.join("\n\n")}\n`;
}

/** The settings as a table for people. */
export function toConfigTable({ config }: ConfigDocument): string {
  const rows = Object.entries(config).map(([key, { value, from }]) =>
    [key, String(value), from].map(printable),
  );
  return `${columns([["SETTING", "VALUE", "FROM"], ...rows]).join("\n")}\n`;
}

/** The embedded objects as a table for people. */
export function toBytecodeTable({ bytecode }: BytecodeList): string {
  const rows = bytecode.map(({ name, programs, constants, size, ...object }) => [
    name,
    object.for,
    `${programs.length}`,
    `${constants.length}`,
    `${size}`,
  ]);
  return `${columns([["NAME", "FOR", "PROGRAMS", "CONSTANTS", "BYTES"], ...rows]).join("\n")}\n`;
}

/** What was written into an object, as a table for people. */
export function toBakedTable({
  output,
  bytecode,
  bytecode_reason: reason,
  constants,
  set = {},
  ...baked
}: Baked): string {
  const rows = [...Object.entries(constants), ...Object.entries(set)].map(([name, value]) => [
    name,
    value?.toString() ?? "absent",
  ]);
  const head = `${printable(output)}  ${facts([bytecode, reason, `for ${baked.for}`])}`;
  return `${head}\n${columns([["CONSTANT", "VALUE"], ...rows])
    .map(printable)
    .join("\n")}\n`;
}

/** A verification as a table for people. */
export const toVerifyTable = ({ verify }: Verify): string => `${verifiedBlocks(verify).join("\n\n")}\n`;

const verifiedBlocks = ({ kernel, tls = [] }: Verified): readonly string[] => [
  ...(kernel === undefined ? [] : [verifiedKernel(kernel)]),
  ...tls.map(verifiedTls),
];

function verifiedKernel(kernel: VerifiedKernel): string {
  const rows = Object.entries(kernel.constants).map(([name, { compared, held, mismatch }]) => [
    name,
    `${held} of ${compared}`,
    held === compared ? "held" : "WRONG",
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
  const table = columns([["CONSTANT", "HELD", "RESULT", "FIRST MISMATCH"], ...rows, ...missing, ...unseen]);
  return `VERIFIED  ${facts(["kernel", kernel.bytecode, kernel.attached.join(" ")])}\n${table.map(printable).join("\n")}`;
}

function verifiedTls({
  path,
  bytecode,
  connections,
  ends,
  missed,
  events,
  lost,
  ...library
}: VerifiedTls): string {
  const counts = [`${connections} connections`, `${ends} ends`, `${events} events`];
  const gaps = [missed > 0 ? `${missed} ends MISSED` : null, lost > 0 ? `${lost} events LOST` : null];
  const head = `VERIFIED  ${printable(path)}  ${facts([bytecode, ...counts, ...gaps, library.reason ?? null])}`;
  const rows = Object.entries(library.items).map(([item, { compared, held, constants }]) => [
    item,
    `${held} of ${compared}`,
    held === compared ? "held" : "WRONG",
    constants.join(" "),
  ]);
  const missing = library.not_compared.map((name) => [
    "-",
    "-",
    library.not_known.includes(name) ? "not known" : "not compared",
    name,
  ]);
  if (rows.length + missing.length === 0) return head;
  const table = columns([["ITEM", "HELD", "RESULT", "CONSTANTS"], ...rows, ...missing]);
  return [head, ...table.map(printable)].join("\n");
}

/** One gateway lookup as a table for people. */
export function toGatewayTable({ gateway: answer }: GatewayDocument): string {
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
  ].map((cells) => cells.map(printable));
  return `${columns(rows).join("\n")}\n`;
}

/** Rows of equally many cells, one line each, the cells of a column equally wide. */
export function columns(rows: readonly (readonly string[])[]): string[] {
  const widths = rows[0]?.map((_, at) => Math.max(...rows.map((cells) => cells[at]?.length ?? 0))) ?? [];
  return rows.map((cells) =>
    cells
      .map((cell, at) => cell.padEnd(widths[at] ?? 0))
      .join("  ")
      .trimEnd(),
  );
}

const state = (value: boolean | null): string => (value === null ? "unknown" : value ? "yes" : "no");

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

function kernelBlock(kernel: KernelReport, colour: boolean): string {
  const how = [
    kernel.strategy,
    kernel.bytecode,
    kernel.attached.join(" "),
    `${kernel.events} events in ${kernel.duration_ms.toFixed(1)} ms`,
  ];
  return `KERNEL  ${facts(how)}\n${fieldTable(kernel.fields, colour)}`;
}

function tlsBlock(tls: TlsReport, colour: boolean): string {
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
    .join(" ")}\n${facts(how)}\n${fieldTable(tls.fields, colour)}${functionTable(tls.functions, colour)}`;
}

const facts = (texts: readonly (string | null)[]): string =>
  texts
    .filter((text) => text !== null && text !== "")
    .map((text) => printable(text ?? ""))
    .join(" · ");

const fieldTable = (fields: KernelReport["fields"], colour: boolean): string =>
  statusTable(
    ["CONSTANT", "OFFSET", "STATUS", "MEMBER", "REASON"],
    Object.entries(fields).map(([constant, { value, status, member, reason }]) => ({
      status,
      cells: [constant, value?.toString() ?? "-", status, member, reason ?? ""],
    })),
    { numbers: 1, status: 2, colour },
  );

/** Behind that of the constants; empty where nothing is told of functions. */
function functionTable(functions: TlsReport["functions"], colour: boolean): string {
  const rows = Object.entries(functions).map(([name, { address, offset, status, reason }]) => ({
    status,
    cells: [name, hex(address), hex(offset), status, reason ?? ""],
  }));
  if (rows.length === 0) return "";
  const header = ["FUNCTION", "ADDRESS", "IN FILE", "STATUS", "REASON"];
  return `\n${statusTable(header, rows, { numbers: 2, status: 3, colour })}`;
}

const hex = (value: number | null): string => (value === null ? "-" : `0x${value.toString(16)}`);

/** Rows below a header, the `numbers` columns behind the first to the right, and the status in its colour. */
function statusTable(
  header: readonly string[],
  rows: readonly { readonly status: Status; readonly cells: readonly string[] }[],
  at: { readonly numbers: number; readonly status: number; readonly colour: boolean },
): string {
  const shown = rows.map(({ status, cells }) => ({ status, cells: cells.map(printable) }));
  const widths = header.map((name, column) =>
    Math.max(name.length, ...shown.map(({ cells }) => cells[column]?.length ?? 0)),
  );
  const line = (cells: readonly string[], status?: Status): string =>
    cells
      .map((cell, column) => {
        const width = widths[column] ?? 0;
        const isNumber = column > 0 && column <= at.numbers;
        const padding = " ".repeat(width - cell.length);
        const shown =
          at.colour && column === at.status && status !== undefined
            ? `\x1b[${statusColours[status]}m${cell}\x1b[39m`
            : cell;
        return isNumber ? padding + shown : shown + padding;
      })
      .join("  ")
      .trimEnd();
  return [line(header), ...shown.map(({ cells, status }) => line(cells, status))].join("\n");
}

export const diagnosticsBlock = (diagnostics: Document["diagnostics"]): string =>
  ["DIAGNOSTICS", ...diagnostics.map(({ code, message }) => `${code}  ${printable(message)}`)].join("\n");
