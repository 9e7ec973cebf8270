import { arm64 } from "../machine/arm64.ts";
import type { Decoder } from "../machine/decoder.ts";
import type { Dialect } from "../machine/step.ts";
import { x86 } from "../machine/x86.ts";
import { type Reference, scanCode } from "./cross-references.ts";
import { type Code, Functions } from "./functions.ts";
import type { LoadedFile } from "./loaded-file.ts";
import { type Event, type TraceOptions, trace } from "./trace.ts";

/** What survives stripping and leads to code. */
export interface SoughtNames {
  /** Texts that code names. A linker may have put one into the end of a longer one. */
  readonly texts: readonly string[];
  /** Names of source files, behind any folders. */
  readonly files: readonly string[];
  /** Files whose code a table alone leads to: near it nothing else is looked for. */
  readonly apart?: readonly string[];
  /** The source files that code names more often than anything else. */
  readonly many?: readonly string[];
  /** What is looked for: each text and each name of a file holds one of these. Few, since each is one pass over all data. */
  readonly needles: readonly string[];
}

/** Bytes. The longest text or path of a source file that is looked into. */
const longest = 250;
/** Functions of one name that are looked into. */
const mostFunctions = 96;

/** A library's code, by what its functions name. */
export class Subject {
  readonly image: LoadedFile;
  readonly machine: Dialect;
  readonly #decoder: Decoder;
  readonly #sought: SoughtNames;
  #names: ReadonlyMap<number, string> | null = null;
  #functions: Functions | null = null;
  #references: readonly Reference[] = [];
  readonly #naming = new Map<string, Set<number>>();
  readonly #events = new Map<string, readonly Event[]>();

  constructor(image: LoadedFile, decoder: Decoder, names: SoughtNames) {
    this.image = image;
    this.machine = image.elf.machine === "x86_64" ? x86 : arm64;
    this.#decoder = decoder;
    this.#sought = names;
  }

  /** What an address is the beginning of. */
  get names(): ReadonlyMap<number, string> {
    this.#names ??= namesIn(this.image, this.#sought);
    return this.#names;
  }

  /** Known from the first look at all code on, which is taken when it is needed: some tables lead to functions by themselves. */
  get functions(): Functions {
    return this.#functions ?? this.#scan();
  }

  /** Where code names them. */
  get references(): readonly Reference[] {
    if (this.#functions === null) this.#scan();
    return this.#references;
  }

  #scan(): Functions {
    const many = new Set(this.#sought.many?.flatMap((name) => this.addressesOf(name)));
    const { references, isCalled } = scanCode(this.image, new Set(this.names.keys()), many);
    const functions = new Functions(this.image, this.machine, this.#decoder, isCalled);
    this.#functions = functions;
    this.#references = references;
    for (const { at, target } of references) {
      const name = this.names.get(target);
      const start = functions.startOf(at);
      if (name === undefined || start === null) continue;
      const those = this.#naming.get(name) ?? new Set();
      if (those.size < mostFunctions) this.#naming.set(name, those.add(start));
    }
    return functions;
  }

  /** Addresses of text, by what stands there. */
  addressesOf(text: string): readonly number[] {
    return [...this.names].flatMap(([address, name]) => (name === text ? address : []));
  }

  /** First addresses of the functions that name a text or file. */
  naming(...names: readonly string[]): readonly number[] {
    void this.functions;
    return [...new Set(names.flatMap((name) => [...(this.#naming.get(name) ?? [])]))];
  }

  /** Whether the function that begins here names a text or file; only a table may lead to it. */
  isNaming(entry: number, name: string): boolean {
    const { end } = this.functions.at(entry);
    return this.references.some(
      ({ at, target }) => at >= entry && at < end && this.names.get(target) === name,
    );
  }

  /** First addresses of the functions that name something, but for what lies apart. */
  known(): readonly number[] {
    void this.functions;
    const { apart = [] } = this.#sought;
    return this.naming(...[...this.#naming.keys()].filter((name) => !apart.includes(name)));
  }

  /** The decoded function that begins at an address. */
  code(entry: number): Code {
    return this.functions.at(entry);
  }

  /** What a function does. Where it was followed further before, that is what is told. */
  events(entry: number, options: TraceOptions = {}): readonly Event[] {
    const whole = [entry, ...(options.given ?? [])].join();
    const { steps, visits } = options;
    const key = steps === undefined && visits === undefined ? whole : `${whole} ${steps} ${visits}`;
    const known =
      (visits === undefined ? this.#events.get(whole) : undefined) ??
      this.#events.get(key) ??
      trace(this.image, this.machine, this.functions.at(entry), options);
    this.#events.set(key, known);
    return known;
  }
}

/** The texts and files that the data has, by the addresses where they begin. */
function namesIn(
  image: LoadedFile,
  { texts, files, apart = [], needles }: SoughtNames,
): ReadonlyMap<number, string> {
  const found = new Map<number, string>();
  const byName = new Set([...files, ...apart]);
  for (const place of image.places(needles.map((needle) => Buffer.from(needle)))) {
    const whole = image.textAround(place, longest);
    if (whole === null) continue;
    const file = whole.text.slice(whole.text.lastIndexOf("/") + 1);
    if (byName.has(file)) found.set(whole.start, file);
    for (const text of texts)
      if (whole.text.endsWith(text)) found.set(whole.start + whole.text.length - text.length, text);
  }
  return found;
}
