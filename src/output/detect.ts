import type { DetectDocument } from "./document.ts";
import { printable } from "./printable.ts";
import { columns, diagnosticsBlock, hostBlock } from "./table.ts";

type Plan = DetectDocument["detect"]["tls"][number]["sources"]["probe"];

const answer = ({ would }: Plan): string => (would === null ? "perhaps" : would ? "yes" : "no");

/** What would be done here, as a table for people. */
export function toDetectTable({ tool, host, detect, diagnostics }: DetectDocument): string {
  const { kernel, tls, missing } = detect;
  const how = [kernel.strategy, kernel.bytecode].filter(Boolean).join(" · ") || "nothing would be guessed";
  const libraries = tls.map(({ path, library, version, bytecode, sources }) => {
    const name = `${library} ${version ?? "of unknown version"}`;
    const rows = Object.entries(sources).map(([source, plan]) => [source, answer(plan), plan.reason]);
    return block(
      `TLS  ${[path, name, bytecode].filter(Boolean).join(" · ")}`,
      ["SOURCE", "WOULD", "REASON"],
      rows,
    );
  });
  const blocks = [
    `${tool.name} ${tool.version} (${tool.arch}, ${tool.libc})`,
    hostBlock(host),
    block(
      "KERNEL",
      ["SOURCE", "WOULD", "REASON"],
      Object.entries(kernel.sources).map(([source, plan]) => [source, answer(plan), plan.reason]),
    ),
    ...(kernel.strategy === null
      ? []
      : [
          block(
            `GUESS  ${how}`,
            ["STRUCT", "RUNG", "WOULD", "REASON"],
            Object.entries(kernel.structs).map(([struct, plan]) => [
              struct,
              plan.rung ?? "-",
              answer(plan),
              plan.reason,
            ]),
          ),
        ]),
    ...libraries,
    ...(missing.length === 0
      ? []
      : [
          block(
            "MISSING",
            ["WHAT", "WHAT WOULD HELP", "WHAT IT COSTS", "WHY"],
            missing.map(({ what, help, cost, why }) => [what, help, cost, why]),
          ),
        ]),
    ...(diagnostics.length === 0 ? [] : [diagnosticsBlock(diagnostics)]),
  ];
  return `${blocks.join("\n\n")}\n`;
}

const block = (title: string, header: readonly string[], rows: readonly (readonly string[])[]): string =>
  [printable(title), ...columns([header, ...rows.map((cells) => cells.map(printable))])].join("\n");
