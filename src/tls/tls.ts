import { SystemError } from "../../ffi/error.ts";
import type { Elf } from "../elf/elf.ts";
import { hostFiles } from "../host/files.ts";
import { askMounts, deadMounts } from "../host/mounts.ts";
import { processors } from "../host/processors.ts";
import { Root } from "../host/root.ts";
import { mayExecute, ownerOf } from "../host/trusted.ts";
import { digestOf } from "../input/digest.ts";
import { shownName } from "../input/name.ts";
import { type Evidence, sources as everySource, type Source, unchosen } from "../offsets/evidence.ts";
import { type Allowance, judge, type Refutation, refutations } from "../offsets/truth.ts";
import type { LibraryReport } from "../output/document.ts";
import { Failure } from "../output/failure.ts";
import type { Diagnostic } from "../output/schema-parts.ts";
import { toFields } from "../output/verdicts.ts";
import { messageOf } from "../self/thrown.ts";
import { awaiting, during, now, share } from "../self/whereabouts.ts";
import { functionSymbols, functionsOf, withoutSymbol } from "./attach-points.ts";
import { type FoundLibrary, type Scope, scan } from "./find/find.ts";
import type { Located, Place } from "./find/locate.ts";
import type { MappedFile } from "./find/processes.ts";
import { type Identity, identify, notSupported, Signatures } from "./identify/identify.ts";
import { sideBySide } from "./lanes.ts";
import {
  chooseLayout,
  describe,
  type LayoutChoice,
  type NoLayout,
  tableFields,
  unknownFields,
  type Measured as Values,
} from "./layouts/describe.ts";
import { isKnownLibrary, type Layouts, loadLayouts } from "./layouts/layouts.ts";
import { libraryFields, measuredIn } from "./layouts/library-fields.ts";
import type { Trust } from "./probe/closure.ts";
import type { LibraryFiles, Probed } from "./probe/probe.ts";
import type { References, WantedReferences } from "./references/references.ts";
import type { RememberedReports } from "./remembered.ts";
export interface TlsOptions {
  /** The machine's tree; absolute. Default `/`. */
  readonly root?: string;
  /** Where procfs is mounted. Default: no process is looked at. */
  readonly proc?: string;
  /**
   * Whether the tree is none that this machine runs: an unpacked image, a mounted disk. Then no process is looked at, nothing in it is
   * executed, and the user's paths are inside it. Default: it is the machine's.
   */
  readonly isImage?: boolean;
  /** Default: where dynamic linkers look, and what processes have mapped. */
  readonly scope?: Scope;
  /** The sources that may speak. Default all. */
  readonly sources?: readonly Source[];
  /** What is told though nothing vouches for it. Default nothing. */
  readonly allow?: Allowance;
  /** References may speak of functions whatever the sources: somebody is to attach there. */
  readonly isAttached?: boolean;
  /** Paths of libraries that are executed though others than root could have written them. Default none. */
  readonly trust?: readonly string[];
  /** Milliseconds that a mount's server may take to answer before what lies on it is skipped; null: they were asked. Default 1000. */
  readonly patience?: number | null;
  /** What was measured before, by all bytes that it was measured of, and what is measured now. Default: nothing is kept. */
  readonly memory?: RememberedReports;
  readonly trace?: (message: string) => void;
  /** Called with the progress: of what, how many are done, of how many. */
  readonly progress?: (what: string, done: number, total: number) => void;
  /** Told what is ready, as soon as it is, and by rank where in the whole it stands. */
  readonly tell?: (ready: TlsReports, rank: number) => void;
  /** Libraries that are looked at side by side. Default: as many as there are processors, within reason. */
  readonly lanes?: number;
  /** Called with each report, one after the other in their order, while the library's files are open. */
  readonly each?: (report: LibraryReport, library: OpenLibrary) => Promise<void>;
}

/** A library with its open files. */
export interface OpenLibrary {
  readonly files: LibraryFiles;
  /** Another library has its build id. */
  readonly hasTwin: boolean;
  /** Whether it lies in a tree that this machine does not run, of which nothing is executed. */
  readonly isImage: boolean;
  readonly trust: Trust;
  /** How this host calls the file, whatever the user called it. */
  readonly name: string;
  /** How processes have it mapped. */
  readonly mapped: readonly MappedFile[];
}

export interface TlsReports {
  /** One a file with a TLS library, in order of path. */
  readonly reports: LibraryReport[];
  readonly diagnostics: Diagnostic[];
}

/** What was measured of a library, and what hindered it. */
interface Measured {
  readonly evidence: readonly Evidence[];
  readonly hindrances: readonly Diagnostic[];
}

/** What was learned in this run, by a digest of the files that it was learned from: a copy of them is not looked at again. */
interface Known {
  /** By the digest of all files that the child loads. */
  readonly probed: Map<string, Promise<Probed>>;
  readonly references: Map<string, References>;
}

/** What one source tells by reading code. Where that fails, null, and the reason is added to `hindrances`. */
async function read<Told>(
  { path }: Elf,
  what: string,
  hindrances: Diagnostic[],
  load: () => Promise<() => Told>,
): Promise<Told | null> {
  try {
    const toldBy = await load();
    using _ = during(`${what} of ${path}`);
    return toldBy();
  } catch (error) {
    hindrances.push({ code: "W_TLS_CODE", message: `${path}: its code is not read: ${messageOf(error)}` });
    return null;
  }
}

/**
 * What the library's machine code says, and what it does in a child. Each is loaded for the first library that needs it; the child
 * works while the accessors are read.
 */
async function measure(
  { library }: Identity,
  sources: readonly Source[],
  { files, trust, hasTwin }: OpenLibrary,
  known: Known,
): Promise<Measured> {
  if (!isKnownLibrary(library)) return { evidence: [], hindrances: [] };
  const { probeEvidence } = await import("./probe/probe.ts");
  const probed = sources.includes("probe")
    ? probeEvidence(library, files, trust, hasTwin ? known.probed : undefined)
    : Promise.resolve({ evidence: [] });
  const hindrances: Diagnostic[] = [];
  const code = sources.includes("code")
    ? await read(files.ssl, "the code", hindrances, async () => {
        const { codeEvidence } = await import("./code/code.ts");
        return () => codeEvidence(library, files);
      })
    : [];
  const told = await awaiting(`the probe of ${files.ssl.path}`, probed);
  if (!("evidence" in told))
    hindrances.push({ code: "W_TLS_PROBE", message: `${files.ssl.path}: not probed: ${told.reason}` });
  return { evidence: [...("evidence" in told ? told.evidence : []), ...(code ?? [])], hindrances };
}

/**
 * What strings and tables of the library lead to, asked for what is open: it is the one source that goes over all of a program.
 */
async function refer(
  { library }: Identity,
  { files, hasTwin }: OpenLibrary,
  wanted: WantedReferences,
  known: Known,
): Promise<Measured & Pick<References, "functions">> {
  const hindrances: Diagnostic[] = [];
  const nothing = { evidence: [], functions: new Map() };
  const isNothing = wanted.constants?.size === 0 && wanted.functions.length === 0;
  if (!isKnownLibrary(library) || isNothing) return { ...nothing, hindrances };
  const told = await read(files.ssl, "the references", hindrances, async () => {
    const { readReferences } = await import("./references/references.ts");
    return () => {
      if (!hasTwin) return readReferences(library, files.ssl, wanted);
      const asked = [...(wanted.constants ?? []), ...wanted.functions];
      const key = [library, digestOf([files.ssl.fd]), wanted.constants === null, ...asked].join(" ");
      const before = known.references.get(key) ?? readReferences(library, files.ssl, wanted);
      known.references.set(key, before);
      return before;
    };
  });
  return { ...(told ?? nothing), hindrances };
}

/** Constants that are not known; null where no table tells which there are. */
function openIn(
  { fields }: Pick<LibraryReport, "fields">,
  sources: readonly Source[],
): ReadonlySet<string> | null {
  if (!sources.includes("table")) return null;
  const isKnown: ReadonlySet<string> = new Set(["confirmed", "single", "absent"]);
  return new Set(
    Object.entries(fields).flatMap(([constant, { status }]) => (isKnown.has(status) ? [] : constant)),
  );
}

/** A library that was found, open. */
export interface Looked {
  readonly identity: Identity;
  readonly library: OpenLibrary;
  /** Keys of its report that tell which file it is. */
  readonly file: Pick<LibraryReport, "root" | "deleted" | "build_id" | "used_by"> & { readonly path: string };
}

async function reportOn(
  { identity, library, file }: Looked,
  { sources: chosen = everySource, allow, isAttached = false }: TlsOptions,
  { known, diagnostics }: { readonly known: Known; readonly diagnostics: Diagnostic[] },
): Promise<LibraryReport> {
  const sources = library.isImage ? chosen.filter((source) => source !== "probe") : chosen;
  const measured = await measure(identity, sources, library, known);
  const first = await answer(identity, measured.evidence, sources, allow);
  const { ssl } = library.files;
  const symbols = functionSymbols(identity.library, ssl);
  const isRead = sources.includes("references");
  const wanted = {
    constants: isRead ? openIn(first.report, sources) : new Set<string>(),
    functions: isRead || isAttached ? withoutSymbol(identity, symbols) : [],
  };
  const referred = await refer(identity, library, wanted, known);
  const { report, complaints } =
    referred.evidence.length === 0
      ? first
      : await answer(identity, [...measured.evidence, ...referred.evidence], sources, allow);
  const functions = functionsOf(identity, ssl, symbols, referred.functions);
  for (const { code, message } of complaints) diagnostics.push({ code, message: `${file.path}: ${message}` });
  diagnostics.push(...measured.hindrances, ...referred.hindrances);
  return { ...file, ...report, functions };
}

/** What a report says of a library, wherever it lies, and what the reader should know of it. */
async function answer(
  identity: Identity,
  measured: readonly Evidence[],
  sources: readonly Source[],
  allow: Allowance | undefined,
) {
  const { library, version } = identity;
  const layouts = await loadLayouts(library);
  const named = layouts === null ? null : nameLayout(layouts, identity, sources);
  const values = measuredIn(measured);
  const choice =
    layouts === null || named === null || !sources.includes("table")
      ? named
      : describe(layouts, named, version, values);
  const described = layouts === null || choice === null ? [] : fieldsBy(layouts, choice, version, values);
  const fields = libraryFields(described, measured, layouts?.members ?? {});
  const evidence = [...measured, ...described.map((one) => one.evidence)];
  const errors = refutations(fields, evidence);
  return {
    complaints: complaints(identity, named, choice, errors),
    report: {
      library,
      version,
      version_from: identity.versionFrom,
      layout: errors.length === 0 ? (choice?.layout ?? null) : null,
      described: named?.layout ?? null,
      match: choice?.match ?? null,
      ...toFields(judge(fields, evidence, allow)),
    },
  };
}

/** The layout of the library's version. */
function nameLayout(
  layouts: Layouts,
  { version, reason }: Identity,
  sources: readonly Source[],
): LayoutChoice | NoLayout {
  const none = { layout: null, match: null };
  if (!sources.includes("table")) return { ...none, reason: unchosen };
  return version === null ? { ...none, reason: reason ?? "no version" } : chooseLayout(layouts, version);
}

const fieldsBy = (
  layouts: Layouts,
  choice: LayoutChoice | NoLayout,
  version: string | null,
  measured: Values,
) =>
  choice.layout === null
    ? unknownFields(layouts, choice.reason, measured)
    : tableFields(layouts, choice, version);

function complaints(
  identity: Identity,
  named: LayoutChoice | NoLayout | null,
  choice: LayoutChoice | NoLayout | null,
  errors: readonly Refutation[],
): readonly Diagnostic[] {
  const { library, version, reason, contradictions = [] } = identity;
  const list: Diagnostic[] = contradictions.map((message) => ({ code: "W_TLS_VERSION", message }));
  const other = notSupported(identity);
  if (other !== null) return [...list, { code: "E_TLS_UNSUPPORTED", message: other }];
  if (version === null) list.push({ code: "W_TLS_VERSION", message: reason ?? "no version" });
  else if (named === null)
    list.push({ code: "W_TLS_LAYOUT", message: `no layout is published for library ${library}` });
  else if (named.layout === null && named.reason !== unchosen)
    list.push({ code: "W_TLS_LAYOUT", message: named.reason });
  const isOther = named?.layout !== undefined && named.layout !== null && choice?.layout !== named.layout;
  if (isOther && choice?.reason !== undefined)
    list.push({
      code: "W_TLS_TABLE",
      message: `${named.layout}, the layout of ${version}, is not its: ${choice.reason}`,
    });
  if (errors.length > 0) {
    const wrong = errors.map(
      ({ constant, described, measured }) =>
        `${constant} is ${measured.length === 0 ? "missing" : measured.join(" or ")}, not ${described ?? "missing"}`,
    );
    list.push({
      code: "W_TLS_TABLE",
      message: `${choice?.layout} does not describe it, and says nothing of these structs: ${wrong.join(", ")}`,
    });
  }
  return list;
}

/** What was measured of the same bytes before, wherever they lay; else what is measured now. */
async function remembering(
  memory: RememberedReports | undefined,
  { file, library: { files, isImage } }: Looked,
  measure: () => Promise<LibraryReport>,
): Promise<LibraryReport> {
  const all = [files.ssl, ...files.cryptos];
  if (memory === undefined || all.some(({ size }) => size > largestTwin)) return measure();
  const {
    root: _,
    deleted: __,
    ...report
  } = await memory.report({ files: all, buildId: file.build_id, about: String(isImage) }, measure);
  return { ...report, ...file };
}

/**
 * Reports on every TLS library in scope. Only the source `probe` executes one, in a child, and only one that no
 * unprivileged user could have written. Nothing is looked for in the working directory.
 * A file that cannot be read is a diagnostic that names it, never an exception. @throws Error when `root` is relative,
 * Failure where the one process asked for cannot be read
 */
export async function tlsReports(options: TlsOptions = {}): Promise<TlsReports> {
  const known: Known = { probed: new Map(), references: new Map() };
  let before: Promise<void> = Promise.resolve();
  return survey(options, async (one, diagnostics) => {
    const turn = before;
    const { promise, resolve } = Promise.withResolvers<void>();
    before = promise;
    try {
      const report = await remembering(options.memory, one, () =>
        reportOn(one, options, { known, diagnostics }),
      );
      if (options.each !== undefined || options.trace !== undefined) await turn;
      options.trace?.(`tls: ${one.file.path} is ${report.library} ${report.version ?? "of unknown version"}`);
      await options.each?.(report, one.library);
      return report;
    } finally {
      resolve();
    }
  });
}

/** Milliseconds that a mount's server may take to answer, where the caller says nothing else. */
const usualPatience = 1000;

/** A file of at most so many bytes is compared with others of its build id, for which all of it is read. */
const largestTwin = 512 << 20;

/** Libraries side by side at most: each may have a child, with memory of its own. */
const mostLanes = 8;

/** Where libraries are looked for. */
export interface SurveyOptions<Report>
  extends Pick<
    TlsOptions,
    "root" | "proc" | "isImage" | "scope" | "trust" | "progress" | "patience" | "lanes"
  > {
  /** Told what is ready, as soon as it is, and by rank where in the whole it stands. */
  readonly tell?: (ready: { reports: Report[]; diagnostics: Diagnostic[] }, rank: number) => void;
}

/**
 * Finds the libraries in scope and looks at several of them side by side: while a child works on one, the next is begun. What
 * comes of it stands in their order, whichever is done first. @throws Failure where the one process asked for cannot be read
 */
export async function survey<Report>(
  {
    root: at = "/",
    proc,
    isImage = false,
    scope = { kind: "machine", deep: false },
    trust = [],
    progress,
    tell,
    patience = usualPatience,
    lanes = Math.min(processors(hostFiles()), mostLanes),
  }: SurveyOptions<Report>,
  look: (one: Looked, diagnostics: Diagnostic[]) => Promise<Report>,
): Promise<{ reports: Report[]; diagnostics: Diagnostic[] }> {
  if (patience !== null) await awaiting("the answers of mounts' servers", askMounts(proc ?? null, patience));
  const unseen = whyUnseen(at);
  if (unseen !== null)
    return { reports: [], diagnostics: [{ code: "E_TLS_ROOT", message: `${at} ${unseen}` }] };
  using scanned = scan({
    root: at,
    proc: proc ?? null,
    scope,
    isImage,
    ...(progress && {
      progress: (done: number, total: number) => progress("files looked into", done, total),
    }),
  });
  const { found, here, isAt } = scanned;
  if (isImage && scope.kind === "machine" && found.length === 0) {
    const more = scope.deep ? ", and in no program" : "; --all looks into its programs too";
    const message = `${shownName(at)}: no TLS library lies where its dynamic linkers look${more}`;
    scanned.diagnostics.push({ code: "E_TLS_ROOT", message });
  }
  tell?.({ reports: [], diagnostics: [...scanned.diagnostics] }, 0);
  // A tree elsewhere on this host is seen by this host's paths; another mount namespace's only from its own root.
  const isOwn = proc !== undefined && at.startsWith(`${proc}/`);
  const treeOf = ({ root, path, container, deleted }: Place) =>
    container === null && !isOwn
      ? { tree: here, path: root.name(path), deleted }
      : { tree: root, path, deleted };
  const signatures = new Signatures();
  const twins = sharedIds(found);
  const isNamed = (identity: string): boolean => trust.some((path) => isAt(path, identity));

  async function lookAt(one: FoundLibrary, diagnostics: Diagnostic[]): Promise<Report> {
    const { path, container, deleted, named } = one;
    using held = new DisposableStack();
    const looked = ((): Looked => {
      using _ = during(shownName(named ?? path));
      const ssl = held.use(one.open());
      const isTrusted = ({ elf: { fd }, place }: Located): boolean =>
        mayExecute({ fd, ...treeOf(place) }, isNamed, proc);
      // Where the library is not trusted itself, a libcrypto of the same owner is as good a witness as that library.
      const mayHear = (crypto: Located): boolean =>
        isTrusted(crypto) || (!isTrusted(ssl) && ownerOf(crypto.elf.fd) === ownerOf(ssl.elf.fd));
      const identity = identify(ssl.elf, one, { signatures, held, mayHear });
      const cryptos = identity.libcryptos ?? [ssl];
      const places = new Map([ssl, ...cryptos].map(({ elf, place }) => [elf.identity, place]));
      const buildId = ssl.elf.buildId();
      return {
        identity,
        library: {
          files: { ssl: ssl.elf, cryptos: cryptos.map(({ elf }) => elf) },
          isImage: one.isImage,
          hasTwin: buildId !== null && twins.has(buildId) && ssl.elf.size <= largestTwin,
          trust: {
            places,
            seenAs: treeOf,
            isNamed,
            proc: proc ?? "/proc",
          },
          name: shownName(treeOf(one).tree.name(treeOf(one).path)),
          mapped: one.mapped,
        },
        file: {
          path: shownName(named ?? path),
          ...(container === null || named !== null ? {} : { root: shownName(container) }),
          ...(deleted && named === null ? { deleted } : {}),
          build_id: buildId,
          used_by: [...one.usedBy],
        },
      };
    })();
    return await look(looked, diagnostics);
  }

  // What other users alone have comes last, and may take its share of the time.
  const order = [...found.entries()].sort(
    ([, one], [, other]) => Number(one.isOthers) - Number(other.isOthers),
  );
  let [done, passedOver] = [0, 0];
  let end: number | null = null;
  const parts = new Map<number, { reports: Report[]; diagnostics: Diagnostic[] }>();
  await sideBySide(order, lanes, async ([index, one]) => {
    if (one.isOthers) end ??= now() + share() / 2;
    if (end !== null && now() >= end) {
      passedOver += 1;
      return;
    }
    progress?.("libraries", done, found.length);
    const part: { reports: Report[]; diagnostics: Diagnostic[] } = { reports: [], diagnostics: [] };
    try {
      part.reports.push(await lookAt(one, part.diagnostics));
    } catch (error) {
      if (error instanceof Failure) throw error;
      part.diagnostics.push({ code: "W_TLS_FILE", message: messageOf(error) });
    }
    done += 1;
    parts.set(index, part);
    tell?.(part, index + 1);
  });
  const last = [
    ...deadMounts().map((message) => ({ code: "E_TLS_MOUNT", message })),
    ...(passedOver === 0 ? [] : [tooMany(passedOver)]),
  ];
  if (last.length > 0) tell?.({ reports: [], diagnostics: last }, found.length + 1);
  const ordered = [...found.keys()].flatMap((index) => parts.get(index) ?? []);
  return {
    reports: ordered.flatMap(({ reports }) => reports),
    diagnostics: [...scanned.diagnostics, ...ordered.flatMap(({ diagnostics }) => diagnostics), ...last],
  };
}

const tooMany = (count: number): Diagnostic => ({
  code: "E_TLS_OTHERS",
  message: `processes of other users have so many TLS libraries that ${count} were not looked at; name them, or allow more with --deadline`,
});

/** The build ids that more than one of the files has. */
function sharedIds(found: readonly FoundLibrary[]): ReadonlySet<string> {
  const [seen, shared] = [new Set<string>(), new Set<string>()];
  for (const one of found.length > 1 ? found : []) {
    try {
      using ssl = one.open();
      const id = ssl.elf.buildId();
      if (id !== null) (seen.has(id) ? shared : seen).add(id);
    } catch {} // told when it is looked at
  }
  return shared;
}

/**
 * What the table says of a version named by the user; no file is looked at. There the table is what was asked: what it
 * says is told.
 */
export async function offlineReport(identity: Identity, sources: readonly Source[]): Promise<TlsReports> {
  const { report, complaints } = await answer(identity, [], sources, { assumed: true });
  const name = `${identity.library} ${identity.version ?? "of unknown version"}`;
  return {
    reports: [{ path: null, build_id: null, used_by: [], ...report, functions: {} }],
    diagnostics: complaints.map(({ code, message }) => ({ code, message: `${name}: ${message}` })),
  };
}

/** Why the tree cannot be looked at; null when it can. Without this it would look like one without libraries. */
function whyUnseen(at: string): string | null {
  try {
    using _ = new Root(at);
    return null;
  } catch (error) {
    if (!(error instanceof SystemError)) throw error;
    return error.code === "ENOENT" ? "is not there" : `cannot be looked at: ${error.code}`;
  }
}
