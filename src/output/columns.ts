import type { Status } from "../offsets/truth.ts";
import { printable } from "./printable.ts";

/** What a table is shown on. */
export interface Screen {
  /** Whether it shows colours. */
  readonly colour: boolean;
  /** Columns of a line; endless for a file or a pipe. */
  readonly width: number;
}

/** A file or a pipe. */
export const paper: Screen = { colour: false, width: Number.POSITIVE_INFINITY };

/** SGR colour numbers (ECMA-48). */
export const colours = { red: 31, green: 32, yellow: 33 } as const;
export type Colour = (typeof colours)[keyof typeof colours];

/** A text, or one in a colour. */
export type Cell = string | { readonly text: string; readonly colour: Colour };

/** What a status is to the reader. */
const statusColours: Record<Status, Colour> = {
  conflict: colours.red,
  unresolved: colours.red,
  assumed: colours.yellow,
  confirmed: colours.green,
  single: colours.green,
  absent: colours.green,
};
/** A status in the colour of what it means: green is known, yellow assumed, red neither. */
export const statusCell = (status: Status): Cell => ({ text: status, colour: statusColours[status] });

const textOf = (cell: Cell): string => printable(typeof cell === "string" ? cell : cell.text);

/** The text of a cell, in its colour where the screen shows colours. */
export const shown = (cell: Cell, { colour }: Screen): string =>
  colour && typeof cell !== "string" ? `\x1b[${cell.colour}m${textOf(cell)}\x1b[39m` : textOf(cell);

const GAP = "  ";
/** Columns that a last cell needs beside the others; where there are fewer its text goes below them. */
const LEAST = 30;
const INDENT = 4;

/**
 * Rows of equally many cells, the cells of a column equally wide. Where the screen is not wide enough, the text of the last
 * cell goes on in further lines of its row.
 *
 * @param right columns of numbers, which stand to the right
 * @returns a text for each row, without a newline behind it
 */
export function columns(
  rows: readonly (readonly Cell[])[],
  { screen = paper, right = [] }: { readonly screen?: Screen; readonly right?: readonly number[] } = {},
): string[] {
  const count = Math.max(0, ...rows.map((cells) => cells.length));
  const widthOf = (at: number): number =>
    Math.max(0, ...rows.map((cells) => Bun.stringWidth(textOf(cells[at] ?? ""))));
  const widths = Array.from({ length: count }, (_, at) => widthOf(at));
  const last = count - 1;
  const beside = widths.slice(0, last).reduce((sum, width) => sum + width + GAP.length, 0);
  const isBelow = screen.width - beside < Math.min(LEAST, widths[last] ?? 0);
  const room = screen.width - (isBelow ? INDENT : beside);

  return rows.map((cells) => {
    const padded = (cell: Cell, at: number): string => {
      const padding = " ".repeat(Math.max(0, (widths[at] ?? 0) - Bun.stringWidth(textOf(cell))));
      return right.includes(at) ? padding + shown(cell, screen) : shown(cell, screen) + padding;
    };
    const head = cells.slice(0, last).map(padded);
    const end = cells[last] ?? "";
    if ((widths[last] ?? 0) <= room && !isBelow) return [...head, padded(end, last)].join(GAP).trimEnd();
    const [first = "", ...more] = wrapped(textOf(end), room);
    const [beginning, indent] = isBelow
      ? [[head.join(GAP).trimEnd(), ...(first === "" ? [] : [" ".repeat(INDENT) + first])].join("\n"), INDENT]
      : [[...head, first].join(GAP).trimEnd(), beside];
    return [beginning, ...more.map((line) => " ".repeat(indent) + line)].join("\n");
  });
}

/** Broken between words into lines of at most so many columns; a longer word has a line of its own. */
export const wrapped = (text: string, width: number): string[] =>
  Number.isFinite(width) ? Bun.wrapAnsi(text, width).split("\n") : [text];
