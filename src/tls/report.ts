import { Elf } from "../elf/elf.ts";
import { type Evidence, sources as everySource, type Source, unchosen } from "../offsets/evidence.ts";
import type { Diagnostic, TlsReport } from "../output/document.ts";
import { joined } from "./fields.ts";
import { findLibssl, readSearchPath, type SearchPath } from "./find.ts";
import { loadLayouts } from "./layouts.ts";
import { Root } from "./root.ts";
import { chooseLayout, type TableField, tableFields, unknownFields } from "./table.ts";
import { type Identity, identify } from "./version.ts";

export interface TlsOptions {
  /** The tree to look at; absolute. Default `/`. A container's is `/proc/PID/root`. */
  readonly root?: string;
  /** Files inside the tree to report on, real paths, such as programs with a library inside. Default: every libssl. */
  readonly paths?: readonly string[];
  /** The sources that may speak. Default all. */
  readonly sources?: readonly Source[];
  readonly trace?: (message: string) => void;
}

export interface TlsReports {
  /** One a libssl file, in order of path. */
  readonly reports: TlsReport[];
  readonly diagnostics: Diagnostic[];
}

/** What is known of a library's layout. `reason`: why none could be found. */
interface Layout {
  readonly layout: TlsReport["layout"];
  readonly match: TlsReport["match"];
  readonly fields: readonly TableField[];
  /** Constant to `type.member`. */
  readonly members: Readonly<Record<string, string>>;
  readonly reason?: string;
}

const messageOf = (error: unknown): string => (error instanceof Error ? error.message : String(error));

/** What the reports of one tree share. */
interface Scan {
  readonly root: Root;
  readonly searchPath: SearchPath;
  readonly sources: readonly Source[];
  readonly diagnostics: Diagnostic[];
}

async function layoutOf({ library, version, reason }: Identity, sources: readonly Source[]): Promise<Layout> {
  const layouts = await loadLayouts(library);
  const none = { layout: null, match: null };
  if (layouts === null)
    return { ...none, fields: [], members: {}, reason: `no layout is published for library ${library}` };
  const { members } = layouts;
  if (!sources.includes("table")) return { ...none, fields: unknownFields(layouts, unchosen), members };
  const choice =
    version === null ? { ...none, reason: reason ?? "no version" } : chooseLayout(layouts, version);
  return choice.layout === null
    ? { ...none, fields: unknownFields(layouts, choice.reason), members, reason: choice.reason }
    : {
        layout: choice.layout,
        match: choice.match,
        fields: tableFields(layouts, choice, version ?? ""),
        members,
      };
}

/** What the library's machine code says. The disassembler is loaded for the first library that needs it. */
async function measure(elf: Elf, { library, libcryptos }: Identity): Promise<readonly Evidence[]> {
  if (library !== "openssl" && library !== "boringssl") return [];
  const { codeEvidence } = await import("./code/evidence.ts");
  using stack = new DisposableStack();
  const cryptos = libcryptos?.map((open) => stack.use(open())) ?? [elf];
  return await codeEvidence(library, { ssl: elf, cryptos });
}

async function reportOn({ root, searchPath, sources, diagnostics }: Scan, path: string) {
  using elf = Elf.open(root.host(path), path);
  const buildId = elf.buildId();
  const identity = identify(root, searchPath, path, elf);
  const { layout, match, fields, members, reason } = await layoutOf(identity, sources);
  if (identity.version === null) {
    diagnostics.push({ code: "W_TLS_VERSION", message: `${path}: ${identity.reason ?? "no version"}` });
  }
  if (reason !== undefined && identity.version !== null) {
    diagnostics.push({ code: "W_TLS_LAYOUT", message: `${path}: ${reason}` });
  }
  let measured: readonly Evidence[] = [];
  try {
    if (sources.includes("code")) measured = await measure(elf, identity);
  } catch (error) {
    diagnostics.push({ code: "W_TLS_CODE", message: `${path}: its code is not read: ${messageOf(error)}` });
  }
  const verdicts = joined(fields, measured, members);
  return {
    path,
    build_id: buildId,
    library: identity.library,
    version: identity.version,
    version_from: identity.versionFrom,
    layout,
    match,
    bytecode: null,
    used_by: [],
    constants: Object.fromEntries(verdicts.map(([constant, { value }]) => [constant, value])),
    fields: Object.fromEntries(
      verdicts.map(([constant, verdict]) => [
        constant,
        {
          ...verdict,
          evidence: Object.fromEntries(Object.entries(verdict.evidence).map(([k, v]) => [k, [...v]])),
        },
      ]),
    ),
  };
}

/**
 * Reports on every libssl of a tree. No library is executed or loaded; nothing is looked for in the working directory.
 * A file that cannot be read is a diagnostic that names it, never an exception. @throws Error when `root` is relative
 */
export async function tlsReports({
  root: at = "/",
  paths,
  sources = everySource,
  trace,
}: TlsOptions = {}): Promise<TlsReports> {
  const root = new Root(at);
  const unseen = whyUnseen(root);
  if (unseen !== null)
    return { reports: [], diagnostics: [{ code: "E_TLS_ROOT", message: `${at} ${unseen}` }] };
  const { searchPath, diagnostics: found } = readSearchPath(root);
  const diagnostics = [...found];
  const scan: Scan = { root, searchPath, sources, diagnostics };
  const reports: TlsReport[] = [];
  for (const path of paths ?? findLibssl(root, searchPath)) {
    try {
      const report = await reportOn(scan, path);
      trace?.(`tls: ${path} is ${report.library} ${report.version ?? "of unknown version"}`);
      reports.push(report);
    } catch (error) {
      diagnostics.push({ code: "W_TLS_FILE", message: messageOf(error) });
    }
  }
  return { reports, diagnostics };
}

/** Why the tree cannot be looked at; null when it can. Without this it would look like one without libraries. */
function whyUnseen(root: Root): string | null {
  try {
    return root.stat("/") === null ? "is not there" : null;
  } catch (error) {
    return `cannot be looked at: ${error instanceof Error && "code" in error ? error.code : error}`;
  }
}
