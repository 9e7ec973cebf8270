/**
 * usage: bun run generate:layout --source DIR --name NAME [OPTION...] [-- CONFIGURE OPTION...]
 *
 * The layout of a TLS library from its source tree, as JSON or as a header, and which known layout it equals.
 * docs/adding-a-tls-version.md walks through it.
 *
 *   --source DIR     an unpacked source tree of OpenSSL or BoringSSL; it is copied, nothing is written into it
 *   --name NAME      what a layout that is not known yet is called, such as openssl_3_7_0
 *   --arch ARCH      x64 or arm64 (x64)
 *   --like LAYOUT    the known layout whose constants are asked for (the one nearest to the tree's version)
 *   --format FORMAT  json or header (json)
 *   --add            puts the version, and a layout that is not known yet, into the project's tables
 */
import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join, resolve } from "node:path";
import { absentMarks } from "../../src/output/header.ts";
import { chooseLayout } from "../../src/tls/layouts/describe.ts";
import type { Layouts } from "../../src/tls/layouts/layouts.ts";
import { loadLayouts } from "../../src/tls/layouts/layouts.ts";
import { addMeasured } from "./layouts.ts";
import { type Arch, type Row, SourceError, SourceTree } from "./offsets.ts";
import { help, optionsOf } from "./options.ts";
import { architectures } from "./paths.ts";

/** A layout in the form of assets/layouts. Null where the struct of this series has no such member. */
interface Generated {
  readonly measured_on: string;
  readonly constants: Readonly<Record<string, number | null>>;
}

/** A known layout beside a generated one: the constants that differ. */
interface Comparison {
  readonly group: string;
  readonly differing: readonly { readonly constant: string; readonly there: number | null }[];
}

/**
 * The known layouts that have the same constants, those that differ least first.
 *
 * @param first of those that differ in as many places, this one leads
 */
function compareLayouts(layouts: Layouts, generated: Generated, first: string): Comparison[] {
  const names = Object.keys(generated.constants);
  return Object.entries(layouts.groups)
    .filter(([, { constants }]) => Object.keys(constants).sort().join() === [...names].sort().join())
    .map(([group, { constants }]) => ({
      group,
      differing: names
        .filter((constant) => constants[constant] !== generated.constants[constant])
        .map((constant) => ({ constant, there: constants[constant] ?? null })),
    }))
    .sort(
      (a, b) =>
        a.differing.length - b.differing.length || Number(b.group === first) - Number(a.group === first),
    );
}

/** eCapture's macros in its order and notation; a member that is not there has its mark, or no macro. */
function layoutHeader(
  { measured_on, constants }: Generated,
  members: Readonly<Record<string, string>>,
): string {
  const macros = Object.entries(constants).flatMap(([constant, offset]) => {
    const value = offset === null ? absentMarks[constant] : `0x${offset.toString(16)}`;
    return value === undefined
      ? []
      : `\n// ${members[constant]?.replace(".", "->")}\n#define ${constant} ${value}\n`;
  });
  return `/* OPENSSL_VERSION_TEXT: ${measured_on} */\n${macros.join("")}`;
}

/** What is asked for a layout like that one; a member that it does not have is not asked for. */
const rowsLike = (layouts: Layouts, like: string): Row[] =>
  Object.entries(layouts.groups[like]?.constants ?? {}).flatMap(([constant, offset]) =>
    offset === null ? [] : { constant, member: layouts.members[constant] ?? constant },
  );

/** The version in a text such as `OpenSSL 3.5.7 9 Jun 2026`. */
const versionIn = (text: string): string => /^OpenSSL (\S+) /.exec(text)?.[1] ?? text;

function templateFor(layouts: Layouts, library: string, text: string, like: string | undefined): string {
  const groups = Object.keys(layouts.groups);
  if (like !== undefined) {
    if (!groups.includes(like)) throw new SourceError(`--like ${like}: there are ${groups.join(", ")}`);
    return like;
  }
  if (library === "boringssl") return groups[0] ?? "";
  const choice = chooseLayout(layouts, versionIn(text));
  if (choice.layout === null) throw new SourceError(`${choice.reason}: name one with --like`);
  return choice.layout;
}

interface Request {
  readonly source: string;
  readonly like?: string | undefined;
  readonly configure: readonly string[];
}

interface Answer {
  readonly arch: Arch;
  readonly library: "openssl" | "boringssl";
  readonly layouts: Layouts;
  readonly like: string;
  readonly generated: Generated;
}

/** The layout of a source tree. @throws SourceError */
async function generateLayout(request: Request, arch: Arch): Promise<Answer> {
  const scratch = await mkdtemp(join(tmpdir(), "offsetof-layout-"));
  try {
    const tree = await SourceTree.open(resolve(request.source), arch, scratch, request.configure);
    const { library } = tree;
    const layouts = await loadLayouts(library);
    if (layouts === null) throw new Error(`no layouts of ${library}`);
    const text = await tree.versionText();
    const like = templateFor(layouts, library, text, request.like);
    const offsets = await tree.offsets(rowsLike(layouts, like));
    const names = Object.keys(layouts.groups[like]?.constants ?? {});
    const constants = Object.fromEntries(names.map((constant) => [constant, offsets[constant] ?? null]));
    return { arch, library, layouts, like, generated: { measured_on: text, constants } };
  } finally {
    await rm(scratch, { recursive: true });
  }
}

/** What stderr says of the known layouts. */
function verdict(name: string, comparisons: readonly Comparison[], generated: Generated): string {
  const [nearest] = comparisons;
  if (nearest === undefined) return `${name} is new: no known layout has these constants`;
  const equal = comparisons.filter(({ differing }) => differing.length === 0);
  if (equal.length > 0) return `${name} equals ${equal.map(({ group }) => group).join(", ")}`;
  const rows = nearest.differing.map(
    ({ constant, there }) => `\n  ${constant}: ${generated.constants[constant]}, there ${there}`,
  );
  return `${name} is new; nearest is ${nearest.group}, which differs in ${rows.length}:${rows.join("")}`;
}

async function main(): Promise<void> {
  const { values, positionals } = optionsOf({
    allowPositionals: true,
    options: {
      source: { type: "string" },
      name: { type: "string" },
      arch: { type: "string", default: "x64" },
      like: { type: "string" },
      format: { type: "string", default: "json" },
      add: { type: "boolean", default: false },
    },
  });
  const { source, name, like, format, add } = values;
  const arch = architectures.find((one) => one.name === values.arch)?.name;
  if (source === undefined || name === undefined || arch === undefined || !/^(json|header)$/.test(format)) {
    console.error(help());
    process.exitCode = 2;
    return;
  }
  const request: Request = { source, like, configure: positionals };
  const answer = await generateLayout(request, arch);
  const { layouts, generated } = answer;
  const comparisons = compareLayouts(layouts, generated, answer.like);
  const output =
    format === "header"
      ? layoutHeader(generated, layouts.members)
      : `${JSON.stringify({ [name]: generated }, null, 1)}\n`;
  process.stdout.write(output);
  console.error(verdict(name, comparisons, generated));
  if (add) await addTo(name, request, answer, comparisons);
}

/** Puts what was generated into the tables. A table serves every architecture, so all must agree. */
async function addTo(
  name: string,
  request: Request,
  { arch, library, layouts, generated }: Answer,
  [nearest]: readonly Comparison[],
): Promise<void> {
  const group = nearest?.differing.length === 0 ? nearest.group : name;
  if (group === name && Object.hasOwn(layouts.groups, name))
    throw new SourceError(`${name} is another layout already: choose another --name`);
  for (const other of architectures.filter((one) => one.name !== arch)) {
    if (!Bun.deepEquals((await generateLayout(request, other.name)).generated, generated))
      throw new SourceError(`${other.name} has another layout, which a table cannot say: nothing was added`);
  }
  const version = library === "openssl" ? versionIn(generated.measured_on) : name;
  await addMeasured(library, {
    groups: group === name ? { [name]: generated } : {},
    versions: { [version]: { group, by: "generate:layout, from the headers of its source" } },
  });
  console.error(`added: ${version} is ${group}`);
}

if (import.meta.main) {
  try {
    await main();
  } catch (error) {
    if (!(error instanceof SourceError)) throw error;
    console.error(`generate:layout: ${error.message}`);
    process.exitCode = 1;
  }
}
