import { type Cell, colours, columns, heading, paper, type Screen } from "./columns.ts";
import type { DetectDocument } from "./detect-schema.ts";
import { printable } from "./printable.ts";
import { diagnosticsBlocks, hostBlock } from "./table.ts";

type Plan = DetectDocument["detect"]["tls"][number]["sources"]["probe"];

function answer({ would }: Plan): Cell {
  if (would === null) return { text: "perhaps", colour: colours.yellow };
  return would ? { text: "yes", colour: colours.green } : { text: "no", colour: colours.red };
}

/** What would be done here, as a table for people. */
export function toDetectTable(
  { tool, host, detect, diagnostics }: DetectDocument,
  screen: Screen = paper,
): string {
  const block = (title: string, rows: readonly (readonly Cell[])[]): string =>
    [heading(printable(title), screen), ...columns(rows, { screen })].join("\n");
  const { kernel, tls, missing } = detect;
  const how = [kernel.strategy, kernel.bytecode].filter(Boolean).join(" · ") || "nothing would be guessed";
  const libraries = tls.map(({ path, library, version, bytecode, sources }) => {
    const name = `${library} ${version ?? "of unknown version"}`;
    const rows = Object.entries(sources).map(([source, plan]) => [source, answer(plan), plan.reason]);
    return block(`TLS  ${[path, name, bytecode].filter(Boolean).join(" · ")}`, [
      ["SOURCE", "WOULD", "REASON"],
      ...rows,
    ]);
  });
  const blocks = [
    `${tool.name} ${tool.version} (${tool.arch}, ${tool.libc})`,
    hostBlock(host),
    block("KERNEL", [
      ["SOURCE", "WOULD", "REASON"],
      ...Object.entries(kernel.sources).map(([source, plan]) => [source, answer(plan), plan.reason]),
    ]),
    ...(kernel.strategy === null
      ? []
      : [
          block(`GUESS  ${how}`, [
            ["STRUCT", "RUNG", "WOULD", "REASON"],
            ...Object.entries(kernel.structs).map(([struct, plan]) => [
              struct,
              plan.rung ?? "-",
              answer(plan),
              plan.reason,
            ]),
          ]),
        ]),
    ...libraries,
    ...missing.map(({ what, help, cost, why }) =>
      block(`MISSING  ${what}`, [
        ["why", why],
        ["would help", help],
        ["it costs", cost],
      ]),
    ),
    ...diagnosticsBlocks(diagnostics, screen),
  ];
  return `${blocks.join("\n\n")}\n`;
}
