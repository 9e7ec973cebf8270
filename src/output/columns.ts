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

const widthOf = (cell: Cell): number => Bun.stringWidth(textOf(cell));

const GAP = "  ";
/** Columns that a last cell needs beside the others; where there are fewer its text goes below them. */
const LEAST = 30;
const INDENT = 4;

/**
 * Rows of equally many cells, the cells of a column equally wide. Where the screen is not wide enough, the text of the last
 * cell goes on below itself, and cells that would end beyond the screen stand in lines of their own below the row.
 *
 * @param right columns of numbers, which stand to the right
 * @returns a text for each row, without a newline behind it
 */
export function columns(
  rows: readonly (readonly Cell[])[],
  { screen = paper, right = [] }: { readonly screen?: Screen; readonly right?: readonly number[] } = {},
): string[] {
  const count = Math.max(0, ...rows.map((cells) => cells.length));
  const widths = Array.from({ length: count }, (_, at) =>
    Math.max(0, ...rows.map((cells) => widthOf(cells[at] ?? ""))),
  );
  const starts = widths.map((_, at) =>
    widths.slice(0, at).reduce((sum, width) => sum + width + GAP.length, 0),
  );
  const last = count - 1;
  const room = screen.width - (starts[last] ?? 0);
  const hasRoom = room >= Math.min(LEAST, widths[last] ?? 0);
  const padded = (cell: Cell, at: number): string => {
    const padding = " ".repeat(Math.max(0, (widths[at] ?? 0) - widthOf(cell)));
    return right.includes(at) ? padding + shown(cell, screen) : shown(cell, screen) + padding;
  };
  const fits = (cell: Cell, at: number): boolean => {
    if (at === last) return hasRoom && Math.max(...textOf(cell).split(" ").map(widthOf)) <= room;
    return (starts[at] ?? 0) + (right.includes(at) ? (widths[at] ?? 0) : widthOf(cell)) <= screen.width;
  };

  return rows.map((cells) => {
    const end = cells[last] ?? "";
    const beyond = cells.findIndex((cell, at) => at > 0 && !fits(cell, at));
    const beside = cells.slice(0, beyond < 0 ? last : beyond).map(padded);
    if (beyond >= 0) {
      const below = cells.slice(beyond).map((cell) => shown(cell, screen));
      const lines = wrapped(below.filter(Boolean).join(GAP), screen.width - INDENT);
      return [beside.join(GAP).trimEnd(), ...lines].join(`\n${" ".repeat(INDENT)}`).trimEnd();
    }
    if ((widths[last] ?? 0) <= room) return [...beside, padded(end, last)].join(GAP).trimEnd();
    const lines = wrapped(shown(end, screen), room);
    return [...beside, lines.join(`\n${" ".repeat(starts[last] ?? 0)}`)].join(GAP).trimEnd();
  });
}

/** Broken between words into lines of at most so many columns; a longer word has a line of its own. */
const wrapped = (text: string, width: number): string[] =>
  Number.isFinite(width) ? Bun.wrapAnsi(text, width).split("\n") : [text];

/** A line above a table, broken between words where the screen ends. */
export const heading = (text: string, { width }: Screen): string => wrapped(text, width).join("\n");
