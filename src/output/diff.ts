import { type Cell, type Colour, colours, columns, heading, paper, type Screen } from "./columns.ts";
import type { Diff } from "./diff-schema.ts";
import { printable } from "./printable.ts";
import { diagnosticsBlocks } from "./table.ts";

type Parts = Diff["diff"];
type KernelDiff = NonNullable<Parts["kernel"]>;
type LibraryDiff = NonNullable<Parts["tls"]>[number];
type Change = KernelDiff["constants"][string]["change"];

/** What a change is to the reader: a number that is gone or doubted, one that is another, one that is there or surer now. */
const changeColours: Readonly<Record<Change, Colour>> = {
  lost: colours.red,
  less_sure: colours.red,
  moved: colours.yellow,
  appeared: colours.green,
  surer: colours.green,
};

/** What differs between two documents, as a table for people. */
export function toDiffTable(
  { diff: { same, kernel, tls = [] }, diagnostics }: Diff,
  screen: Screen = paper,
): string {
  const blocks = [
    ...(kernel === undefined ? [] : [kernelBlock(kernel, screen)]),
    ...tls.map((library) => libraryBlock(library, screen)),
    same ? "SAME  nothing differs" : "DIFFERENT",
    ...diagnosticsBlocks(diagnostics, screen),
  ];
  return `${blocks.join("\n\n")}\n`;
}

const kernelBlock = ({ from, to, constants }: KernelDiff, screen: Screen): string =>
  block(
    [
      "KERNEL",
      step(`${from.release} (${from.arch})`, `${to.release} (${to.arch})`),
      step(from.bytecode, to.bytecode),
    ],
    constants,
    screen,
  );

const libraryBlock = ({ from, to, constants }: LibraryDiff, screen: Screen): string =>
  from === null || to === null
    ? block(
        [`TLS  ${to === null ? "GONE" : "NEW"}`, nameOf(from ?? to), (from ?? to)?.bytecode ?? null],
        constants,
        screen,
      )
    : block(
        [
          "TLS",
          step(nameOf(from), nameOf(to)),
          step(from.build_id, to.build_id),
          step(from.bytecode, to.bytecode),
        ],
        constants,
        screen,
      );

type Side = LibraryDiff["from"];

const nameOf = (library: Side): string =>
  library === null
    ? "none"
    : [
        `${library.root ?? ""}${library.path ?? ""}`,
        library.library,
        library.version,
        library.deleted && "(deleted)",
      ]
        .filter(Boolean)
        .join(" ");

/** From one to the other, or the one where both are. */
const step = (from: string | null, to: string | null): string | null =>
  from === to ? to : `${from ?? "none"} -> ${to ?? "none"}`;

function block(head: readonly (string | null)[], constants: KernelDiff["constants"], screen: Screen): string {
  const title = heading(printable(head.filter(Boolean).join("  ")), screen);
  const rows = Object.entries(constants).map(
    ([name, { change, from, to, from_status, to_status, reason }]): readonly Cell[] => [
      name,
      from?.toString() ?? "-",
      to?.toString() ?? "-",
      { text: change.replace("_", " "), colour: changeColours[change] },
      step(from_status, to_status) ?? "",
      reason ?? "",
    ],
  );
  if (rows.length === 0) return `${title}\nno constant differs`;
  const header = ["CONSTANT", "FROM", "TO", "CHANGE", "STATUS", "REASON"];
  return [title, ...columns([header, ...rows], { screen })].join("\n");
}
