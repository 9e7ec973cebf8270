/**
 * bun run lab:kernels [NAME...]: builds the kernels of source.ts, or those named, and keeps them in the cache; `usual`
 * stands for the one that npm test boots.
 */
import { stat } from "node:fs/promises";
import { optionsOf } from "../../assets/build/options.ts";
import { buildKernel, chosenSourceKernels, SOURCE_KERNELS, sourceKernel } from "./source.ts";

const { positionals: names } = optionsOf({ allowPositionals: true });
const rows =
  names.length === 0
    ? SOURCE_KERNELS
    : names.flatMap((name) => (name === "usual" ? chosenSourceKernels() : sourceKernel(name)));
for (const row of rows) {
  const { vmlinux, seconds } = await buildKernel(row);
  const { size } = await stat(vmlinux);
  console.log(`${row.name}: ${(size / 2 ** 20).toFixed(1)} MiB, built in ${seconds} s: ${row.notes}`);
}
