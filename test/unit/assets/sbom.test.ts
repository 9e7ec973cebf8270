import { describe, expect, test } from "bun:test";
import { readFileSync } from "node:fs";
import { join } from "node:path";
import Ajv from "ajv";
import * as v from "valibot";
import { repository } from "../../../assets/build/paths.ts";
import { machines, type Release } from "../../../assets/build/release/machines.ts";
import { billOfMaterials, noticesOf } from "../../../assets/build/release/sbom.ts";
import manifest from "../../../assets/manifest.json";
import packageJson from "../../../package.json";
import lock from "../../../package-lock.json";

const release: Release = { version: "1.2.3", description: "what it is", date: 1_790_000_000, effort: "fast" };

/** CycloneDX's own schema. */
const schemaAt = (name: string): object =>
  JSON.parse(
    readFileSync(join(repository, "node_modules/@cyclonedx/cyclonedx-library/res/schema", name), "utf8"),
  );
const ajv = new Ajv({ strict: false, allErrors: true, validateFormats: false });
// By these names the first refers to the others.
for (const name of ["spdx", "jsf-0.82", "cryptography-defs"].map((each) => `${each}.SNAPSHOT.schema.json`))
  ajv.addSchema(schemaAt(name), `http://cyclonedx.org/schema/${name}`);
const isCycloneDx = ajv.compile(schemaAt("bom-1.6.SNAPSHOT.schema.json"));

const billSchema = v.object({
  metadata: v.object({ component: v.object({ hashes: v.array(v.object({ content: v.string() })) }) }),
  components: v.array(
    v.object({
      name: v.string(),
      version: v.optional(v.string()),
      purl: v.optional(v.string()),
      licenses: v.optional(v.array(v.object({ expression: v.string() }))),
      hashes: v.optional(v.array(v.object({ alg: v.string(), content: v.string() }))),
    }),
  ),
  dependencies: v.array(v.object({ ref: v.string(), dependsOn: v.array(v.string()) })),
});

/** Any file: its sum alone is told. */
const file = join(repository, "LICENSE");

describe.each([...machines])("the bill of materials for $arch", (machine) => {
  const bill = async () => {
    const json: unknown = JSON.parse(await billOfMaterials(machine, file, release));
    expect([isCycloneDx(json), isCycloneDx.errors]).toEqual([true, null]);
    return v.parse(billSchema, json);
  };

  test("is CycloneDX, of this very file", async () => {
    const { metadata } = await bill();
    const [sum] = Bun.spawnSync(["sha256sum", file]).stdout.toString().split(" ");
    expect(metadata.component.hashes).toEqual([{ content: sum ?? "" }]);
  });

  test("names the packages that npm has for the program, with their sums", async () => {
    const { components } = await bill();
    const npm = ["npm", "ls", "--json", "--omit=dev", "--package-lock-only"];
    const { dependencies } = v.parse(
      v.object({ dependencies: v.record(v.string(), v.object({ version: v.string() })) }),
      JSON.parse(Bun.spawnSync(npm, { cwd: repository }).stdout.toString()),
    );
    expect(Object.keys(dependencies).length).toBeGreaterThan(3);
    for (const [name, { version }] of Object.entries(dependencies)) {
      const own = name === "bun" ? machine.runtime : name;
      const purl = `pkg:npm/${own.replace("@", "%40")}@${version}`;
      expect(components.find((each) => each.name === name)?.purl).toBe(purl);
    }
    const { integrity } = lock.packages["node_modules/valibot"];
    const hex = Buffer.from(integrity.slice("sha512-".length), "base64").toString("hex");
    expect(components.find(({ name }) => name === "valibot")?.hashes).toEqual([
      { alg: "SHA-512", content: hex },
    ]);
  });

  test("names the source packages that the assets are built from, and the library made of them", async () => {
    const { components, dependencies } = await bill();
    for (const [name, version] of Object.entries(manifest.sources)) {
      const purl = components.find((each) => each.name === name)?.purl ?? "";
      expect(decodeURIComponent(purl)).toBe(`pkg:deb/debian/${name}@${version}?arch=source`);
    }
    const library = components.find(({ name }) => name === "libbpf.so");
    const sums = Object.entries(manifest.files).flatMap(([path, { sha256 }]) =>
      path.startsWith(`lib/${machine.target}/`) ? [sha256] : [],
    );
    expect(sums).toContain(library?.hashes?.[0]?.content ?? "");
    const inside = (ref: string) => dependencies.find((each) => each.ref === ref)?.dependsOn;
    expect(inside("libbpf.so")).toEqual(["libbpf", "elfutils", "zlib", "zig"]);
    expect(inside("offsetof")).toContain("bun");
    expect(inside("bun")).toContain("BoringSSL");
  });

  test("says of each licence that it is one of SPDX's expressions", async () => {
    const ids: readonly string[] = v.parse(
      v.object({ enum: v.array(v.string()) }),
      schemaAt("spdx.SNAPSHOT.schema.json"),
    ).enum;
    for (const { name, licenses = [] } of (await bill()).components)
      for (const { expression } of licenses)
        for (const id of expression.split(/ AND | OR /))
          expect([name, id, ids.includes(id)]).toEqual([name, id, true]);
  });
});

test("THIRD_PARTY.md's tables have each name once", async () => {
  const names = noticesOf(await Bun.file(join(repository, "THIRD_PARTY.md")).text()).map(({ name }) => name);
  expect(names).toEqual([...new Set(names)]);
  expect(names).toEqual(expect.arrayContaining(Object.keys(packageJson.dependencies)));
});
