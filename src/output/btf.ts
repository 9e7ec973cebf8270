import type { Places, Relocations } from "./btf-schema.ts";
import { columns, paper, type Screen } from "./columns.ts";
import { printable } from "./printable.ts";

/** Which functions of eBPF objects would relocate, as a table for people. */
export function toRelocationsTable({ kernel, objects }: Relocations, screen: Screen = paper): string {
  const blocks = objects.map(({ path, relocates, functions }) => {
    const rows = functions.flatMap(({ missing, absent, ...one }) => [
      [
        one.name,
        one.section,
        `${one.relocations}`,
        one.relocates ? (one.needs_kernel_btf ? "needs the kernel's own BTF" : "relocates") : "misses",
      ],
      ...missing.map(({ what, question, reason }) => ["", "", "", `  ${what} (${question}): ${reason}`]),
      ...absent.map(({ what, question, reason }) => [
        "",
        "",
        "",
        `  does without ${what} (${question}): ${reason}`,
      ]),
    ]);
    const head = `${path}  ${relocates ? "RELOCATES" : "DOES NOT RELOCATE"}`;
    const header = ["FUNCTION", "SECTION", "RELOCATIONS", "RESULT"];
    return [printable(head), ...columns([header, ...rows], { screen })].join("\n");
  });
  return `${[printable(`KERNEL  ${kernel.release ?? "of the document"}`), ...blocks].join("\n\n")}\n`;
}

/** Where loaders look for BTF, as a table for people. */
export function toPlacesTable({ release, places }: Places, screen: Screen = paper): string {
  const rows = places.map(({ loader, file, setting, format, command }) => [
    loader,
    file ?? setting ?? "",
    format,
    command,
  ]);
  const table = columns([["LOADER", "TAKES IT FROM", "FORMAT", "WRITTEN BY"], ...rows], { screen });
  return `${[printable(`KERNEL  ${release}`), ...table].join("\n")}\n`;
}
