import { version } from "../../package.json";
import type { Status } from "../offsets/truth.ts";
import { type Earlier, type EarlierFields, type EarlierLibrary, unknownRelease } from "../output/earlier.ts";
import type { Merged } from "../output/merge-schema.ts";
import { formatVersion } from "../output/schema-parts.ts";
import { functionNumbers } from "../output/selection.ts";
import { surest } from "./sureness.ts";

/** Names that are kept of machines that have something in common. */
const FEW = 10;
/** How many odd machines and how many failures are named; of the rest the number is told. */
const MOST_NAMED = 1000;

type KernelLayout = Merged["layouts"]["kernels"][number];
type LibraryLayout = Merged["layouts"]["libraries"][number];
type Odd = Merged["odd"][number];
/** What machines tell together. */
type Merging = Pick<KernelLayout, "machines" | "first" | "constants" | "fields">;
type Constants = EarlierLibrary["constants"];

/** Counts names and keeps the first of them. */
class Names {
  count = 0;
  readonly kept: string[] = [];

  constructor(private readonly most: number) {}

  add(name: string): void {
    this.count++;
    if (this.kept.length < this.most) this.kept.push(name);
  }
}

/** Machines that tell the same of one thing, to the last number and status. */
interface Telling {
  readonly constants: Constants;
  readonly fields: EarlierFields;
  readonly machines: Names;
}

/** A kernel release or a library's build id, with what machines tell of it. */
class Thing<Facts> {
  readonly tellings = new Map<string, Telling>();
  readonly machines = new Names(FEW);
  readonly paths = new Set<string>();
  /** Names of functions that are told of. */
  readonly functions = new Set<string>();

  constructor(readonly facts: Facts) {}

  add(machine: string, { constants, fields }: Pick<Telling, "constants" | "fields">): void {
    const key = `${JSON.stringify(constants)}${Object.values(fields).map(({ status }) => status)}`;
    let telling = this.tellings.get(key);
    if (telling === undefined) {
      telling = { constants, fields, machines: new Names(MOST_NAMED) };
      this.tellings.set(key, telling);
    }
    telling.machines.add(machine);
    this.machines.add(machine);
  }
}

type KernelFacts = Pick<KernelLayout, "arch" | "release" | "version">;
type LibraryFacts = Pick<
  LibraryLayout,
  "arch" | "build_id" | "library" | "version" | "layout" | "described" | "match"
>;

/**
 * Joins documents of many machines: what each kernel release and each build id is, which machines tell otherwise, and what is
 * not known where. Machines are held by layouts, not by documents, so that memory grows with what differs.
 */
export class Merge {
  readonly #kernels = new Map<string, Thing<KernelFacts>>();
  readonly #libraries = new Map<string, Thing<LibraryFacts>>();
  readonly #failed: Merged["failed"] = [];
  #failures = 0;
  #nameless = new Names(FEW);
  documents = 0;

  /** @param machine what it is named in the answer */
  add(machine: string, { tool: { arch }, host, kernel, tls = [] }: Earlier): void {
    this.documents++;
    const { release, version } = host.kernel;
    if (kernel !== undefined && release !== unknownRelease) {
      thingIn(this.#kernels, `${arch} ${release}`, { arch, release, version }).add(machine, kernel);
    }
    const seen = new Set<string>();
    for (const { path, build_id, library, version, layout, described, match, ...told } of tls) {
      const subject = withFunctions(told);
      if (build_id === null) {
        this.#nameless.add(`${machine} ${path ?? ""}`);
        continue;
      }
      const key = `${arch} ${build_id}`;
      const thing = thingIn(this.#libraries, key, {
        arch,
        build_id,
        library,
        version,
        layout,
        described,
        match,
      });
      if (path !== null && thing.paths.size < FEW) thing.paths.add(path);
      for (const name of Object.keys(told.functions)) thing.functions.add(name);
      // The same file in several containers of a machine is told once.
      const copy = `${key} ${JSON.stringify(subject.constants)}`;
      if (!seen.has(copy)) thing.add(machine, subject);
      seen.add(copy);
    }
  }

  /** A document that could not be read. */
  fail(machine: string, message: string): void {
    this.#failures++;
    if (this.#failed.length < MOST_NAMED) this.#failed.push({ machine, message });
  }

  /** Sorted by what things are called: the same documents give the same bytes. */
  result(): Merged {
    const kernels = sorted(this.#kernels).map((thing) => ({ ...thing.facts, ...layoutOf(thing) }));
    const libraries = sorted(this.#libraries).map((thing) => ({
      ...thing.facts,
      paths: [...thing.paths].sort(),
      ...functionsApart(layoutOf(thing), thing.functions),
    }));
    const odd = [
      ...sorted(this.#kernels).flatMap((thing) =>
        oddOf(thing).map((one) => ({ ...one, arch: thing.facts.arch, release: thing.facts.release })),
      ),
      ...sorted(this.#libraries).flatMap((thing) =>
        oddOf(thing).map((one) => ({ ...one, arch: thing.facts.arch, build_id: thing.facts.build_id })),
      ),
    ];
    return {
      format_version: formatVersion,
      tool: { name: "offsetof", version },
      documents: this.documents,
      layouts: { kernels, libraries },
      groups: groupsOf(kernels),
      odd: odd.slice(0, MOST_NAMED),
      failed: this.#failed,
      diagnostics: [
        ...more("E_FAILED", "documents that could not be read", this.#failures),
        ...more("E_ODD", "machines that tell another layout", odd.length),
        ...(this.#nameless.count === 0 ? [] : [withoutBuildId(this.#nameless)]),
      ],
    };
  }
}

/** Where functions lie is merged as constants are: by the names that formats of numbers alone have for it. */
function withFunctions({
  constants,
  fields,
  functions,
}: Pick<EarlierLibrary, "constants" | "fields" | "functions">): Pick<Telling, "constants" | "fields"> {
  const rows = Object.entries(functions).flatMap(([name, { status, reason, ...told }]) =>
    functionNumbers(name, told).map(
      ([constant, value]) =>
        [constant, value, { member: name, status, ...(reason === undefined ? {} : { reason }) }] as const,
    ),
  );
  return {
    constants: { ...constants, ...Object.fromEntries(rows.map(([name, value]) => [name, value])) },
    fields: { ...fields, ...Object.fromEntries(rows.map(([name, , field]) => [name, field])) },
  };
}

/** The reverse of {@link withFunctions}: constants, and functions by their names. */
function functionsApart(
  { constants, fields, ...layout }: Merging,
  names: ReadonlySet<string>,
): Merging & Pick<LibraryLayout, "functions"> {
  const functions: LibraryLayout["functions"] = {};
  const numbers = new Set<string>();
  for (const name of names) {
    const [[address], [offset]] = functionNumbers(name, { address: null, offset: null });
    for (const each of [address, offset]) numbers.add(each);
    const both = [fields[address], fields[offset]].filter((field) => field !== undefined);
    const { member: _, ...field } = both.find(({ status }) => status === "conflict") ??
      both[0] ?? { member: name, status: "unresolved" as const };
    functions[name] = { address: constants[address] ?? null, offset: constants[offset] ?? null, ...field };
  }
  const rest = <Value>(record: Readonly<Record<string, Value>>): Record<string, Value> =>
    Object.fromEntries(Object.entries(record).filter(([name]) => !numbers.has(name)));
  return { ...layout, constants: rest(constants), fields: rest(fields), functions };
}

function thingIn<Facts>(things: Map<string, Thing<Facts>>, key: string, facts: Facts): Thing<Facts> {
  const known = things.get(key);
  if (known !== undefined) return known;
  const thing = new Thing(facts);
  things.set(key, thing);
  return thing;
}

const sorted = <Facts>(things: ReadonlyMap<string, Thing<Facts>>): Thing<Facts>[] =>
  [...things].sort(([a], [b]) => (a < b ? -1 : 1)).map(([, thing]) => thing);

const more = (code: string, what: string, count: number): Merged["diagnostics"] =>
  count <= MOST_NAMED ? [] : [{ code, message: `${count} ${what}: the first ${MOST_NAMED} are named` }];

const withoutBuildId = ({ count, kept }: Names): Merged["diagnostics"][number] => ({
  code: "W_NO_BUILD_ID",
  message: `${count} libraries have no build id, by which they could be told from others, and are left out: ${kept.join(", ")}${count > kept.length ? ", ..." : ""}`,
});

/** What a machine can tell of a constant, where it knows. */
type Told = Odd["constants"][string]["told"];

/** What a machine tells of a constant; null where it tells nothing. */
const toldIn = ({ constants, fields }: Telling, name: string): Told | null =>
  constants[name] ?? (fields[name]?.status === "absent" ? "absent" : null);

/** How many machines told what of a constant. */
function votesOf({ tellings }: Thing<unknown>, name: string): ReadonlyMap<Told, number> {
  const votes = new Map<Told, number>();
  for (const telling of tellings.values()) {
    const told = toldIn(telling, name);
    if (told !== null) votes.set(told, (votes.get(told) ?? 0) + telling.machines.count);
  }
  return votes;
}

const namesOf = ({ tellings }: Thing<unknown>): readonly string[] => [
  ...new Set([...tellings.values()].flatMap(({ constants }) => Object.keys(constants))),
];

/** Machines that tell another value than most; all that tell one where no value has most. */
function oddOf(thing: Thing<unknown>): Pick<Odd, "machine" | "constants">[] {
  const disputed = namesOf(thing).flatMap((name) => {
    const votes = votesOf(thing, name);
    return votes.size < 2 ? [] : [{ name, most: mostOf(votes) }];
  });
  return [...thing.tellings.values()].flatMap((telling) => {
    const odd = disputed.flatMap(({ name, most }) => {
      const told = toldIn(telling, name);
      return told === null || told === most ? [] : [[name, { told, others: most }] as const];
    });
    return odd.length === 0
      ? []
      : telling.machines.kept.map((machine) => ({ machine, constants: Object.fromEntries(odd) }));
  });
}

/** What more than half of those who told something told; null where nothing has as many. */
function mostOf(votes: ReadonlyMap<Told, number>): Told | null {
  const all = [...votes.values()].reduce((sum, count) => sum + count, 0);
  return [...votes].find(([, count]) => 2 * count > all)?.[0] ?? null;
}

/** One layout of all that is told. A number that machines differ in is none: which of them is right is not known here. */
function layoutOf(thing: Thing<unknown>): Merging {
  const rows = namesOf(thing).map((name) => [name, rowOf(thing, name)] as const);
  return {
    machines: thing.machines.count,
    first: thing.machines.kept,
    constants: Object.fromEntries(rows.map(([name, { value }]) => [name, value])),
    fields: Object.fromEntries(rows.map(([name, { field }]) => [name, field])),
  };
}

function rowOf(
  thing: Thing<unknown>,
  name: string,
): { readonly value: number | null; readonly field: KernelLayout["fields"][string] } {
  const tellings = [...thing.tellings.values()].filter(({ constants }) => Object.hasOwn(constants, name));
  const votes = votesOf(thing, name);
  const unknown = unknownOn(tellings, name);
  if (votes.size > 1) {
    const counts = [...votes].map(([told, count]) => `${told} (${count})`).sort();
    const reason = `machines tell different offsets: ${counts.join(", ")}`;
    const member = surest(tellings.flatMap(({ fields }) => fields[name] ?? []))?.member ?? name;
    return { value: null, field: { member, status: "conflict", reason, ...unknown } };
  }
  const [told = null] = votes.keys();
  const value = told === "absent" ? null : told;
  const best = surest(
    tellings.flatMap((telling) => (toldIn(telling, name) === told ? (telling.fields[name] ?? []) : [])),
  );
  const { member = name, reason } = best ?? {};
  // A document that was written by hand has no statuses.
  const status: Status = best?.status ?? (value === null ? "unresolved" : "single");
  return { value, field: { member, status, ...(reason === undefined ? {} : { reason }), ...unknown } };
}

function unknownOn(
  tellings: readonly Telling[],
  name: string,
): Pick<KernelLayout["fields"][string], "unknown"> {
  const silent = tellings.filter((telling) => toldIn(telling, name) === null);
  const machines = silent.reduce((sum, telling) => sum + telling.machines.count, 0);
  if (machines === 0) return {};
  return { unknown: { machines, first: silent.flatMap((telling) => telling.machines.kept).slice(0, FEW) } };
}

/** Kernels of equal layouts, those of most machines first. What is not known tells none from another. */
function groupsOf(kernels: readonly KernelLayout[]): Merged["groups"] {
  const groups = Map.groupBy(kernels, ({ arch, constants }) => `${arch} ${JSON.stringify(constants)}`);
  return [...groups.values()]
    .map((same) => ({
      arch: same[0]?.arch ?? "",
      machines: same.reduce((sum, { machines }) => sum + machines, 0),
      releases: same.map(({ release }) => release),
    }))
    .sort((a, b) => b.machines - a.machines || ((a.releases[0] ?? "") < (b.releases[0] ?? "") ? -1 : 1));
}
