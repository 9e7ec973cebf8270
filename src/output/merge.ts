import { type Cell, colours, columns, paper, type Screen } from "./columns.ts";
import type { Merged } from "./merge-schema.ts";
import { diagnosticsBlocks } from "./table.ts";

type Layout = Pick<Merged["layouts"]["kernels"][number], "constants" | "fields">;

/** What documents of many machines come to, as a table for people; what asks for someone first. */
export function toMergeTable(merged: Merged, screen: Screen = paper): string {
  const block = (title: string, header: readonly string[], rows: readonly (readonly Cell[])[]): string[] =>
    rows.length === 0 ? [] : [[title, ...columns([header, ...rows], { screen })].join("\n")];
  const { documents, layouts, groups, odd, failed, diagnostics } = merged;
  const { kernels, libraries } = layouts;
  const blocks = [
    `${documents} documents · ${kernels.length} kernels in ${groups.length} layouts · ${libraries.length} TLS libraries`,
    ...block("ODD", ["MACHINE", "TELLS OF", "CONSTANT", "TOLD", "OTHERS"], odd.flatMap(oddRows)),
    ...block(
      "FAILED",
      ["MACHINE", "WHY"],
      failed.map(({ machine, message }) => [{ text: machine, colour: colours.red }, message]),
    ),
    ...block(
      "KERNELS",
      ["LAYOUT", "RELEASE", "ARCH", "MACHINES", "KNOWN", "NOT KNOWN EVERYWHERE"],
      groups.flatMap((group, at) =>
        kernels
          .filter(({ arch, release }) => arch === group.arch && group.releases.includes(release))
          .map((one) => [`${at + 1}`, one.release, one.arch, `${one.machines}`, known(one), nulls(one)]),
      ),
    ),
    ...block(
      "TLS LIBRARIES",
      ["BUILD ID", "LIBRARY", "VERSION", "ARCH", "MACHINES", "KNOWN", "PATH", "NOT KNOWN EVERYWHERE"],
      libraries.map((one) => [
        one.build_id,
        one.library,
        one.version ?? "-",
        one.arch,
        `${one.machines}`,
        known(one),
        one.paths[0] ?? "-",
        nulls(one),
      ]),
    ),
    ...diagnosticsBlocks(diagnostics, screen),
  ];
  return `${blocks.join("\n\n")}\n`;
}

const oddRows = ({ machine, release, build_id, constants }: Merged["odd"][number]): Cell[][] =>
  Object.entries(constants).map(([name, { told, others }]) => [
    { text: machine, colour: colours.red },
    release ?? build_id ?? "",
    name,
    String(told),
    others === null ? "no value of most" : String(others),
  ]);

/** How many of its constants are known: numbers, and those known to be absent. */
function known({ constants, fields }: Layout): string {
  const names = Object.keys(constants);
  const told = names.filter((name) => constants[name] !== null || fields[name]?.status === "absent");
  return `${told.length} of ${names.length}`;
}

const nulls = ({ fields }: Layout): string =>
  Object.entries(fields)
    .flatMap(([name, { unknown }]) => (unknown === undefined ? [] : `${name} (${unknown.machines})`))
    .join(" ");
