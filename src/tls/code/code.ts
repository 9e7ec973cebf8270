import type { Elf } from "../../elf/elf.ts";
import type { FunctionSymbol } from "../../elf/symbols.ts";
import { InputError } from "../../input/input.ts";
import type { Evidence } from "../../offsets/evidence.ts";
import type { KnownLibrary } from "../layouts/layouts.ts";
import { withoutVectorLength } from "../layouts/vector.ts";
import { arm64 } from "../machine/arm64.ts";
import { loadDecoder } from "../machine/decoder.ts";
import type { Dialect, Instruction } from "../machine/step.ts";
import { x86 } from "../machine/x86.ts";
import {
  type Accessor,
  boringsslAccessors,
  type ConnectionStruct,
  gnutlsAccessors,
  opensslAccessors,
  shapeAccessor,
  typeConstant,
} from "./accessors.ts";
import { librarySymbols } from "./library-symbols.ts";
import { type WalkedWays, type WalkOptions, walk } from "./walk.ts";

const dialects: Readonly<Record<Elf["machine"], Dialect>> = { x86_64: x86, aarch64: arm64 };

/** Bytes. The longest accessor seen has 300. */
const largestFunction = 4096;
/** Bytes. No member lies further from the start of its struct; the tables refuse larger offsets too. */
const farthestMember = 65_535;

/** The files that hold a library's functions. */
export interface CodeFiles {
  readonly ssl: Elf;
  /** Every libcrypto that it may be used with: they must agree. A program with both inside is both. */
  readonly cryptos: readonly Elf[];
}

/** The offsets on the way to a member; or why they are not known. */
type Found = { readonly way: readonly number[] } | { readonly reason: string };

/**
 * What the machine code of a library's accessor functions says of its layout: no code is run. Each constant comes with
 * one candidate, bytes from the start of the type, or with the reason why there is none.
 *
 * Never throws for what is in the files.
 */
export const codeEvidence = (library: KnownLibrary, files: CodeFiles): readonly Evidence[] =>
  readers[library](new AccessorReader(library, files));

const readers: Readonly<Record<KnownLibrary, (reader: AccessorReader) => readonly Evidence[]>> = {
  openssl: opensslEvidence,
  boringssl: (reader) =>
    withoutVectorLength(evidenceOf(boringsslAccessors, (accessor) => reader.find(accessor, null))),
  gnutls: (reader) => evidenceOf(gnutlsAccessors, (accessor) => reader.find(accessor, null)),
};

function opensslEvidence(reader: AccessorReader): readonly Evidence[] {
  const { shape, reason } = reader.shape();
  const evidence = evidenceOf(opensslAccessors(shape), (accessor) => reader.find(accessor, shape));
  if (shape === "ssl_connection_st")
    return [...evidence, { source: "code", constant: typeConstant, candidates: [0] }];
  if (shape !== null) return evidence;
  // Neither struct's constants can be told: both for the same reason.
  const said = new Set(evidence.map((one) => one.constant));
  const unsaid = [...opensslAccessors("ssl_st"), ...opensslAccessors("ssl_connection_st")].filter(
    ({ constants }) => !constants.flat().some((constant) => said.has(constant)),
  );
  return [...evidence, ...evidenceOf(unsaid, () => ({ reason }))];
}

/** The evidence on each constant. Where two functions reveal the same constant one is enough; where both do, they must agree. */
function evidenceOf(
  accessors: readonly Accessor[],
  find: (accessor: Accessor) => Found,
): readonly Evidence[] {
  const offsets = new Map<string, Set<number>>();
  const reasons = new Map<string, string>();
  for (const accessor of accessors) {
    const found = find(accessor);
    const names =
      "way" in found ? accessor.constants.find((row) => row.length === found.way.length) : undefined;
    const why = "way" in found ? `${accessor.name} goes another way than is known` : found.reason;
    for (const constant of accessor.constants.flat()) {
      const at = names?.indexOf(constant) ?? -1;
      const offset = "way" in found ? found.way[at] : undefined;
      const known = offsets.get(constant) ?? new Set();
      offsets.set(constant, offset === undefined ? known : known.add(offset));
      if (offset === undefined) reasons.set(constant, why);
    }
  }
  return [...offsets].map(([constant, found]) => {
    if (found.size === 1) return { source: "code", constant, candidates: [...found] };
    const reason = found.size === 0 ? reasons.get(constant) : `functions differ: ${[...found].join(" and ")}`;
    return { source: "code", constant, candidates: [], reason: reason ?? "" };
  });
}

/** A function of a file, decoded. */
interface Code {
  readonly dialect: Dialect;
  readonly entry: number;
  readonly instructions: ReadonlyMap<number, Instruction>;
}

class AccessorReader {
  readonly #library: KnownLibrary;
  readonly #files: CodeFiles;

  constructor(library: KnownLibrary, files: CodeFiles) {
    this.#library = library;
    this.#files = files;
  }

  /**
   * Up to 3.1 SSL_version returns the very first member. From 3.2 on that one is the type, which it asks first, and for
   * a plain connection, type 0, it returns a later one.
   */
  shape(): { readonly shape: ConnectionStruct | null; readonly reason: string } {
    const plain = this.#walk(this.#files.ssl, shapeAccessor, false);
    if ("reason" in plain) return { shape: null, reason: plain.reason };
    const version = wayOf(plain.walk, shapeAccessor);
    if ("way" in version && version.way.length === 1 && version.way[0] === 0)
      return { shape: "ssl_st", reason: "" };
    const typed = this.#walk(this.#files.ssl, shapeAccessor, true);
    if ("walk" in typed && typed.walk.usedAssumption) {
      const later = wayOf(typed.walk, shapeAccessor);
      if ("way" in later && later.way.length === 1) return { shape: "ssl_connection_st", reason: "" };
    }
    const why = "reason" in version ? version.reason : `${shapeAccessor.name} goes another way than is known`;
    return { shape: null, reason: `which struct it is cannot be told: ${why}` };
  }

  /** The offsets that an accessor goes by, in every file that may have it. */
  find(accessor: Accessor, shape: ConnectionStruct | null): Found {
    const isConnection = accessor.constants
      .flat()
      .some((constant) => constant.startsWith("SSL_CONNECTION_ST_"));
    // What is handed on belongs to functions inside, which get the connection itself and do not ask its type.
    const assumeZero = shape === "ssl_connection_st" && isConnection && typeof accessor.by === "string";
    const files = accessor.file === "ssl" ? [this.#files.ssl] : this.#files.cryptos;
    let first: Found = { reason: `${accessor.name} is in a libcrypto that was not found` };
    for (const [index, elf] of files.entries()) {
      const walked = this.#walk(elf, accessor, assumeZero);
      const found = "reason" in walked ? walked : wayOf(walked.walk, accessor);
      if ("reason" in found) return found;
      if (index > 0 && "way" in first && first.way.join() !== found.way.join()) {
        return { reason: `${accessor.name} differs between the libcryptos that may be used` };
      }
      first = found;
    }
    return first;
  }

  #walk(
    elf: Elf,
    { name, file, by, length }: Omit<Accessor, "constants">,
    assumeZero: boolean,
  ): { readonly walk: WalkedWays } | { readonly reason: string } {
    try {
      const callee = typeof by === "string" ? null : this.#symbol(elf, file, by.to);
      if (callee !== null && "reason" in callee) return callee;
      const options: WalkOptions = {
        assumeZero,
        ...(length === undefined ? {} : { length }),
        ...(callee === null ? {} : { callee: callee.address }),
      };
      const code = this.#read(elf, file, name);
      return "reason" in code ? code : { walk: walk(code.dialect, code.instructions, code.entry, options) };
    } catch (error) {
      // A damaged file, or a disassembler that gave up on it.
      if (error instanceof InputError || error instanceof WebAssembly.RuntimeError) {
        return { reason: `${name} cannot be read: ${error.message}` };
      }
      throw error;
    }
  }

  #symbol(elf: Elf, file: Accessor["file"], name: string): FunctionSymbol | { readonly reason: string } {
    const symbols = librarySymbols(elf, file, this.#library);
    const [symbol, ...more] = symbols.get(name) ?? [];
    if (symbol === undefined) return { reason: `it has no symbol ${name}` };
    return more.length > 0 ? { reason: `it has several functions ${name}` } : symbol;
  }

  #read(elf: Elf, file: Accessor["file"], name: string): Code | { readonly reason: string } {
    const symbol = this.#symbol(elf, file, name);
    if ("reason" in symbol) return symbol;
    const { address, size } = symbol;
    if (size === 0 || size > largestFunction) return { reason: `${name} has ${size} bytes` };
    const list = loadDecoder(elf.machine).decode(elf.code(address, size), address);
    return {
      dialect: dialects[elf.machine],
      entry: address,
      instructions: new Map(list.map((one) => [one.address, one])),
    };
  }
}

/** Joins all ways through a function: those that tell of a member must agree, and none may be lost. */
function wayOf({ endings }: WalkedWays, { name, by, widths }: Omit<Accessor, "constants">): Found {
  const ways = new Map<string, readonly number[]>();
  for (const ending of endings) {
    if (ending.kind === "lost") return { reason: `${name}: ${ending.why}` };
    if (ending.kind === "copy" && by === "copy") {
      const way = [...ending.from.loads.map((load) => load.offset), ending.from.add];
      if (ending.from.loads.some(({ offset, width }) => width !== 8 || offset % width !== 0))
        return { reason: `${name} copies from no pointer` };
      ways.set(way.join(), way);
    }
    if (ending.kind === "pass" && typeof by !== "string") {
      const passed = ending.arguments[by.argument];
      if (passed?.kind !== "place" || passed.root !== 0 || passed.loads.length > 0 || passed.add <= 0) {
        return { reason: `${name} hands on another thing than is known` };
      }
      ways.set(String(passed.add), [passed.add]);
    }
    if (ending.kind !== "return" || by !== "return") continue;
    const { value } = ending;
    // A number is an answer such as "none"; it says nothing of a member.
    if (value.kind === "number") continue;
    if (value.kind !== "place") return { reason: `${name} returns what cannot be followed` };
    // An argument that is given back is no member.
    if (value.root !== 0) continue;
    const last = value.loads.at(-1);
    if (last === undefined || value.add !== 0 || !widths.includes(last.width)) {
      return { reason: `${name} returns another thing than is known` };
    }
    // C puts each where its own size divides its place: in damaged code it may be anywhere.
    if (value.loads.some(({ offset, width }) => offset % width !== 0))
      return { reason: `${name} reads where C puts no such member` };
    const way = value.loads.map((load) => load.offset);
    ways.set(way.join(), way);
  }
  const [way, ...others] = ways.values();
  if (way === undefined) return { reason: `${name} tells of no member` };
  if (others.length > 0) return { reason: `${name} goes several ways: ${[...ways.keys()].join(" and ")}` };
  if (way.some((offset) => offset < 0 || offset > farthestMember))
    return { reason: `${name} goes beyond any struct` };
  return { way };
}
