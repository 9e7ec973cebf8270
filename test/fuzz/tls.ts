import { copyFileSync, existsSync, readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { memoryFile } from "../../ffi/descriptors.ts";
import { Elf } from "../../src/elf/elf.ts";
import { InputFile } from "../../src/input/input.ts";
import { functionNames, opensslAccessors } from "../../src/tls/code/accessors.ts";
import { codeEvidence } from "../../src/tls/code/code.ts";
import { tlsReports } from "../../src/tls/tls.ts";
import { functionsOf, sectionsOf, tablesOf } from "./elf.ts";
import { isWithin, type Range, touches } from "./mutate.ts";
import { type Input, inputName, type Opened, same, type Target, Wrong } from "./target.ts";

const folders = ["/usr/lib/x86_64-linux-gnu", "/usr/lib/aarch64-linux-gnu", "/usr/lib64", "/usr/lib"];
/** The system's. */
function systemFile(name: string): string {
  const folder = folders.find((each) => existsSync(join(each, name)));
  if (folder === undefined) throw new Error(`this machine has no ${name}`);
  return join(folder, name);
}

/** Where the functions lie that are read, by their names, and all other code. */
function codeOf(path: string) {
  const functions = functionsOf(path);
  const accessors = new Map(
    functionNames.openssl.ssl.flatMap((name) => {
      const range = functions.get(name);
      return range === undefined ? [] : [[name, range] as const];
    }),
  );
  const text = sectionsOf(path).find(({ name }) => name === ".text");
  if (text === undefined || accessors.size === 0) throw new Error(`${path} has no code to change`);
  return { accessors, text: [text.offset, text.offset + text.size] as const };
}

/** The functions that were changed; null where more was than code. */
function changedFunctions(
  { changed }: Input,
  { accessors, text }: ReturnType<typeof codeOf>,
): readonly string[] | null {
  if (!isWithin(changed, [text])) return null;
  return [...accessors].filter(([, range]) => touches(changed, [range])).map(([name]) => name);
}

export const code: Target = {
  name: "code",
  what: "machine code of accessor functions in the system's libssl",
  share: 25,
  open: async (): Promise<Opened> => {
    const path = systemFile("libssl.so.3");
    const { accessors, text } = codeOf(path);
    const crypto = Elf.open(systemFile("libcrypto.so.3"), undefined, { follow: true });
    const read = async (bytes: Uint8Array) => {
      using memory = memoryFile("input", bytes);
      using ssl = Elf.of(InputFile.of(memory.fd, inputName));
      return codeEvidence("openssl", { ssl, cryptos: [crypto] });
    };
    const bytes = readFileSync(path);
    const known = new Map((await read(bytes)).map((one) => [one.constant, one.candidates]));
    // What each function may tell.
    const sources = new Map<string, Set<string>>();
    for (const shape of ["ssl_st", "ssl_connection_st"] as const)
      for (const { name, by, constants } of opensslAccessors(shape))
        for (const constant of constants.flat())
          sources.set(
            constant,
            new Set([
              ...(sources.get(constant) ?? ["SSL_version"]),
              name,
              ...(typeof by === "string" ? [] : [by.to]),
            ]),
          );
    return {
      samples: [{ bytes, hot: [...accessors.values()] }],
      read: async (input) => {
        const evidence = await read(input.bytes);
        const touched = changedFunctions(input, { accessors, text });
        for (const { constant, candidates } of evidence) {
          if (candidates.some((offset) => !(Number.isInteger(offset) && offset >= 0 && offset <= 0xffff)))
            throw new Wrong(`${constant} at ${candidates}`);
          const isUntouched =
            touched !== null && !touched.some((name) => sources.get(constant)?.has(name) ?? true);
          if (isUntouched) same(constant, candidates, known.get(constant));
        }
        return evidence.some(({ candidates }) => candidates.length > 0);
      },
    };
  },
};

export const tls: Target = {
  name: "tls",
  what: "the whole report of a libssl, by code and table",
  share: 12,
  open: async (folder): Promise<Opened> => {
    const path = join(folder, "libssl.so.3");
    copyFileSync(systemFile("libssl.so.3"), path);
    copyFileSync(systemFile("libcrypto.so.3"), join(folder, "libcrypto.so.3"));
    const bytes = readFileSync(path);
    const code = codeOf(path);
    const tables = tablesOf(path);
    const ask = async () => {
      const scope = { kind: "files", paths: [path] } as const;
      return await tlsReports({ scope, sources: ["code", "table"] });
    };
    const [truth] = (await ask()).reports;
    if (truth === undefined) throw new Error(`${path} is not known here`);
    const texts = sectionsOf(path)
      .filter(({ name }) => name === ".rodata")
      .map(({ offset, size }): Range => [offset, offset + size]);
    // Tables decide which function is meant: what they were changed to is another truth.
    const decisive = [...tables, ...code.accessors.values()];
    return {
      samples: [{ bytes, hot: [...tables, ...texts, ...code.accessors.values()] }],
      read: async ({ bytes: changedBytes, changed }) => {
        writeFileSync(path, changedBytes);
        const { reports, diagnostics } = await ask();
        if (reports.length + diagnostics.length === 0) throw new Wrong("neither an answer nor a reason");
        for (const { version, constants } of reports) {
          const isTold = version === null || version === truth.version || changedBytes.includes(version);
          if (!isTold) throw new Wrong(`version ${version}, which is not in it`);
          if (changed.some(([, end]) => end > bytes.length) || touches(changed, decisive)) continue;
          for (const [name, value] of Object.entries(constants))
            if (value !== null && value !== truth.constants[name])
              throw new Wrong(`${name} ${value}, not ${truth.constants[name]}`);
        }
        return reports.length > 0;
      },
    };
  },
};
