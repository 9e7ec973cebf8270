import type { Places, Relocations } from "./document.ts";
import { printable } from "./printable.ts";
import { columns } from "./table.ts";

/** Which functions of eBPF objects would relocate, as a table for people. */
export function toRelocationsTable({ kernel, objects }: Relocations): string {
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
    return [head, ...columns([["FUNCTION", "SECTION", "RELOCATIONS", "RESULT"], ...rows])]
      .map(printable)
      .join("\n");
  });
  return `${[printable(`KERNEL  ${kernel.release ?? "of the document"}`), ...blocks].join("\n\n")}\n`;
}

/** Where loaders look for BTF, as a table for people. */
export function toPlacesTable({ release, places }: Places): string {
  const rows = places.map(({ loader, file, setting, format, command }) => [
    loader,
    file ?? setting ?? "",
    format,
    command,
  ]);
  const table = columns([["LOADER", "TAKES IT FROM", "FORMAT", "WRITTEN BY"], ...rows]);
  return `${[`KERNEL  ${release}`, ...table].map(printable).join("\n")}\n`;
}
