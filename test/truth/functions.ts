/**
 * bun test/truth/functions.ts FILE...: where functions begin that programs attach to, by what strings lead to alone, against the symbols
 * of the same file where it has some. A row a file; ends with 1 where an address is wrong.
 */
import { basename } from "node:path";
import { Elf } from "../../src/elf/elf.ts";
import { readReferences } from "../../src/tls/references/references.ts";
import { functionsIn, names } from "../unit/tls/binutils.ts";

let wrongs = 0;
console.log("| file | library | told | compared | wrong | not told |\n| --- | --- | --- | --- | --- | --- |");
for (const path of process.argv.slice(2)) {
  using elf = Elf.open(path, path, { follow: true });
  const truth = functionsIn(path);
  const isBoringssl = Buffer.from(await Bun.file(path).bytes()).includes("ssl_lib.cc\0");
  const library = isBoringssl ? "boringssl" : "openssl";
  const wanted = names.filter((name) => !isBoringssl || !name.endsWith("_ex"));
  const { functions } = readReferences(library, elf, { constants: new Set(), functions: wanted });
  const told = [...functions].flatMap(
    ([
      name,
      {
        addresses: [address],
      },
    ]) => (address === undefined ? [] : [{ name, address, truth: truth[name]?.[0] }]),
  );
  const compared = told.filter((one) => one.truth !== undefined);
  const wrong = compared.filter((one) => one.truth !== one.address);
  wrongs += wrong.length;
  const open = wanted.filter((name) => !told.some((one) => one.name === name));
  const cells = [basename(path), library, told.length, compared.length, wrong.length, open.join(", ") || "-"];
  console.log(`| ${cells.join(" | ")} |`);
}
process.exit(wrongs === 0 ? 0 : 1);
