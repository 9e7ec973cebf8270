import { Elf } from "../elf/elf.ts";
import { reconcile } from "../offsets/reconcile.ts";
import type { Diagnostic, TlsReport } from "../output/document.ts";
import { findLibssl, readSearchPath, type SearchPath } from "./find.ts";
import { loadLayouts } from "./layouts.ts";
import { Root } from "./root.ts";
import { chooseLayout, type TableField, tableFields, unknownFields } from "./table.ts";
import { type Identity, identify } from "./version.ts";

export interface TlsOptions {
  /** The tree to look at; absolute. Default `/`. A container's is `/proc/PID/root`. */
  readonly root?: string;
  readonly trace?: (message: string) => void;
}

export interface TlsReports {
  /** One a libssl file, in order of path. */
  readonly reports: TlsReport[];
  readonly diagnostics: Diagnostic[];
}

/** What is known of a library's layout. `reason` is there when `layout` is null. */
interface Layout {
  readonly layout: TlsReport["layout"];
  readonly match: TlsReport["match"];
  readonly fields: readonly TableField[];
  readonly reason?: string;
}

async function layoutOf({ library, version, reason }: Identity): Promise<Layout> {
  const layouts = await loadLayouts(library);
  const none = { layout: null, match: null };
  if (layouts === null)
    return { ...none, fields: [], reason: `no layout is published for library ${library}` };
  const choice =
    version === null ? { ...none, reason: reason ?? "no version" } : chooseLayout(layouts, version);
  return choice.layout === null
    ? { ...none, fields: unknownFields(layouts, choice.reason), reason: choice.reason }
    : { layout: choice.layout, match: choice.match, fields: tableFields(layouts, choice, version ?? "") };
}

async function reportOn(root: Root, searchPath: SearchPath, path: string, diagnostics: Diagnostic[]) {
  using elf = Elf.open(root.host(path), path);
  const buildId = elf.buildId();
  const identity = identify(root, searchPath, path, elf);
  const { layout, match, fields, reason } = await layoutOf(identity);
  if (identity.version === null) {
    diagnostics.push({ code: "W_TLS_VERSION", message: `${path}: ${identity.reason ?? "no version"}` });
  }
  if (layout === null && identity.version !== null) {
    diagnostics.push({ code: "W_TLS_LAYOUT", message: `${path}: ${reason ?? "no layout"}` });
  }
  const verdicts = fields.map(
    ({ field, evidence }) => [field.constant, reconcile(field, [evidence])] as const,
  );
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
export async function tlsReports({ root: at = "/", trace }: TlsOptions = {}): Promise<TlsReports> {
  const root = new Root(at);
  const { searchPath, diagnostics: found } = readSearchPath(root);
  const diagnostics = [...found];
  const reports: TlsReport[] = [];
  for (const path of findLibssl(root, searchPath)) {
    try {
      const report = await reportOn(root, searchPath, path, diagnostics);
      trace?.(`tls: ${path} is ${report.library} ${report.version ?? "of unknown version"}`);
      reports.push(report);
    } catch (error) {
      const message = error instanceof Error ? error.message : String(error);
      diagnostics.push({ code: "W_TLS_FILE", message });
    }
  }
  return { reports, diagnostics };
}
