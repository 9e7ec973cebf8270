import type { Source } from "../offsets/evidence.ts";
import type { Status } from "../offsets/truth.ts";
import { type Cell, columns, heading, paper, type Screen, statusCell } from "./columns.ts";
import type { Document, FieldReport, FunctionReport, TlsReport } from "./document.ts";
import type { Explained } from "./explain-schema.ts";
import { printable } from "./printable.ts";

type Explanation = Explained["explain"][number];

/** What each source's word on an offset rests on. */
const witnesses: Readonly<Record<Source, string>> = {
  guess: "this kernel was watched at work on sockets of our own, whose values are known, and they lie there",
  btf: "the kernel's own type information (BTF) has it there",
  dwarf: "the kernel's own debug information (DWARF) has it there",
  probe:
    "this very library was run in a confined child, and what its own functions tell of a session lies there",
  code: "functions that read the member and nothing else are in the library, and they read there",
  references: "code that strings and tables of this very file lead to reads or writes there",
  table: "published for this version, measured on somebody else's build",
};

const functionWitnesses: Readonly<Record<keyof FunctionReport["evidence"], string>> = {
  symbols: "the file's symbol table names it there",
  references: witnesses.references,
};

/** What a status means of a number, or of none. */
const verdicts: Readonly<Record<Status, string>> = {
  confirmed: "two that do not depend on each other agree",
  single: "one measured it, or a table says so whose other members were measured around it; none contradicts",
  assumed: "only a table says so, and nothing measured vouches for it",
  absent: "there is no such member: nothing is missing",
  conflict: "measurements disagree, so no number is told",
  unresolved: "no source could tell",
};

/** Where a number of each part of a document comes from that has one of this name. */
export function explanations({ host, kernel, tls = [] }: Document, name: string): readonly Explanation[] {
  const ofKernel = kernel?.fields[name];
  return [
    ...(ofKernel === undefined ? [] : [ofField(`Linux ${host.kernel.release}`, name, ofKernel)]),
    ...tls.flatMap((library) => {
      const field = library.fields[name];
      if (field !== undefined) return [ofField(called(library), name, field)];
      const one = Object.hasOwn(library.functions, name) ? library.functions[name] : undefined;
      return one === undefined ? [] : [ofFunction(called(library), name, one)];
    }),
  ];
}

const called = ({ path, root, library, version }: TlsReport): string =>
  `${root ?? ""}${path ?? "no file"} (${library} ${version ?? "of unknown version"})`;

const ofField = (of: string, constant: string, field: FieldReport): Explanation => ({
  constant,
  of,
  member: field.member,
  value: field.value,
  status: field.status,
  meaning: verdicts[field.status],
  ...(field.reason === undefined ? {} : { reason: field.reason }),
  evidence: told(field.evidence, witnesses),
});

const ofFunction = (of: string, constant: string, one: FunctionReport): Explanation => ({
  constant,
  of,
  member: null,
  value: one.offset,
  status: one.status,
  meaning: verdicts[one.status],
  ...(one.reason === undefined ? {} : { reason: one.reason }),
  evidence: told(one.evidence, functionWitnesses),
});

const told = <Name extends string>(
  evidence: Readonly<Partial<Record<Name, readonly number[]>>>,
  words: Readonly<Record<Name, string>>,
): Explanation["evidence"] =>
  (Object.entries(evidence) as [Name, readonly number[]][]).map(([source, numbers]) => ({
    source,
    numbers: [...numbers],
    meaning: words[source] + (numbers.length > 1 ? "; which of them it is was not told apart" : ""),
  }));

/** Explanations as text for people. */
export function toExplanation({ explain }: Explained, screen: Screen = paper): string {
  const blocks = explain.map(({ constant, of, member, value, status, meaning, reason, evidence }) => {
    const what = member === null ? "where the function begins in the file" : `bytes to ${member}`;
    const rows: (readonly Cell[])[] = [
      [statusCell(status), "", meaning],
      ...(reason === undefined ? [] : [["why", "", reason]]),
      ...evidence.map(({ source, numbers, meaning }) => [source, numbers.join(" "), meaning]),
    ];
    return [
      heading(printable(`${constant} = ${value ?? "not known"}  ${what}`), screen),
      heading(printable(`of ${of}`), screen),
      ...columns(rows, { screen, right: [1] }),
    ].join("\n");
  });
  return blocks.map((block, at) => `${at > 0 ? "\n" : ""}${block}\n`).join("");
}
