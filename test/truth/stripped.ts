/**
 * bun test/truth/stripped.ts: how much is known, and how much of it is wrong, of programs without symbols. It fetches some 1 GB into the
 * cache on the first run, and writes the table of docs/design/tls.md. Ends with 1 where a number is wrong.
 */
import { join } from "node:path";
import { loadPackage } from "../../assets/build/debian.ts";
import type { Source } from "../../src/offsets/evidence.ts";
import { type Layouts, loadLayouts } from "../../src/tls/layouts/layouts.ts";
import { tlsReports } from "../../src/tls/tls.ts";
import { loadNode, loadNpm, type NodeSample, nodeSamples } from "../unit/tls/node.ts";
import { bunLive } from "./live.ts";
import { truthOf } from "./read.ts";
import { wrongNumbers } from "./wrong.ts";

interface Sample {
  readonly name: string;
  readonly file: () => Promise<string>;
  /** Upstream's layout of the time, by the date of the commits that have it; or numbers seen on live connections. */
  readonly truth: string | Readonly<Record<string, number>> | null;
}

const npm = (
  name: string,
  version: string,
  file: string,
  integrity: string,
  truth: Sample["truth"],
): Sample => ({
  name: `${name} ${version}`,
  file: async () =>
    join(await loadNpm({ name, version, integrity: `sha512-${integrity}`, part: file }), file),
  truth,
});

const debian = (
  suite: string,
  name: string,
  file: (arch: string) => string,
  truth: Sample["truth"],
  arch: "amd64" | "arm64" = "amd64",
): Sample => ({
  name: `${name}, ${suite} ${arch}`,
  file: async () =>
    join(
      (await loadPackage(suite, name, arch)).root,
      file(arch === "amd64" ? "x86_64-linux-gnu" : "aarch64-linux-gnu"),
    ),
  truth,
});

const samples: readonly Sample[] = [
  npm(
    "@oven/bun-linux-x64",
    "1.0.0",
    "bin/bun",
    "mTSy9cerd2dlNgUDQ8fUVmB8fMyshr0KEEwT6hFsPi0ujaT4TVs7JRxbVftsAEb9/j825t3TxXS2O7NC36Di+Q==",
    "boringssl_2022_09",
  ),
  npm(
    "@oven/bun-linux-x64",
    "1.2.0",
    "bin/bun",
    "QGXdeY0zkTSMYqIJ1crDF8gvRx0JeRYjd/nmfpxnuxyVNjUUVZHaQKMHvGGptPmkzvhEvCYnWmh2wmCFQmCZBw==",
    "boringssl_2024_11",
  ),
  {
    name: "bun 1.4.5",
    file: async () => join(import.meta.dir, "../../node_modules/bun/bin/bun.exe"),
    truth: bunLive,
  },
  npm(
    "@oven/bun-linux-aarch64",
    "1.4.5",
    "bin/bun",
    "4BXmsSKnjOrlGWqZV4x/oWa7AVoR+B6lCXddMzOAXBIm3t50eslg9wb66gmtW1AamEQ1l1CDvmmruysEhqOWMg==",
    bunLive,
  ),
  npm(
    "@cloudflare/workerd-linux-64",
    "1.20240129.0",
    "bin/workerd",
    "sFV1uobHgDI+6CKBS/ZshQvOvajgwl6BtiYaH4PSFSpvXTmRx+A9bcug+6BnD+V4WgwxTiEO2iR97E1XuwDAVw==",
    "boringssl_2023_05",
  ),
  npm(
    "@cloudflare/workerd-linux-64",
    "1.20251121.0",
    "bin/workerd",
    "u0iPZboX4qRTEDYH6pwhHTU3rW78YhnjcbLXwvegxH6nD0ZMPMAuBgTxapjau5FPG8RT3Os3UNBcu+yJlLpapQ==",
    "boringssl_2025_11",
  ),
  npm(
    "@cloudflare/workerd-linux-arm64",
    "1.20251121.0",
    "bin/workerd",
    "DF1EHyVMDhZrjoMcMGSx1qJYTO2K9pCQ9wtEeDTTjudXa7p3/r6D4l5WY1RTdRggAMHiNyxWWD6TxtdXYwSWpg==",
    "boringssl_2025_11",
  ),
  npm(
    "@livekit/rtc-node-linux-x64-gnu",
    "0.13.24",
    "rtc-node.linux-x64-gnu.node",
    "vKOxzN/SsrtV8zIVwZCi31bZUhlb6RhJZ0NnY5MwKGSRFPi7Dwt8fmr0Vh0YmsY/p+4eZjKxvFmy7L3WVE54zw==",
    "boringssl_2025_05",
  ),
  npm(
    "@signalapp/libsignal-client",
    "0.103.0",
    "prebuilds/linux-x64/@signalapp+libsignal-client.node",
    "eTPT0ebDsoriIjeMjuB882H51UpFXnWDIu43VX0uBSM6iryKmCa0zxabncrS6xG0KJqAc+Modjkhk0nk+w2k+A==",
    null,
  ),
  debian(
    "bookworm",
    "libqt5webenginecore5",
    (lib) => `usr/lib/${lib}/libQt5WebEngineCore.so.5.15.13`,
    "boringssl_2020_09",
  ),
  debian(
    "bookworm",
    "libqt6webenginecore6",
    (lib) => `usr/lib/${lib}/libQt6WebEngineCore.so.6.4.2`,
    "boringssl_2021_07",
  ),
  debian(
    "trixie",
    "libqt6webenginecore6",
    (lib) => `usr/lib/${lib}/libQt6WebEngineCore.so.6.8.2`,
    "boringssl_2023_12_01",
  ),
  debian("bookworm", "chromium", () => "usr/lib/chromium/chromium", "boringssl_2026_08_21"),
  debian("bookworm", "chromium", () => "usr/lib/chromium/chromium", "boringssl_2026_08_21", "arm64"),
];

/** Node.js that no other test looks at. */
const more: readonly NodeSample[] = (
  [
    [
      "x64",
      "18.12.1",
      "N0UowFVyV0tbwWXJSbKZZxUdu/zFyH+T1emqLyUnzisOiUt7Sulw93NUcXcJ0DHDyiF5oqrGwiV2UB+eRx6zmA==",
    ],
    [
      "x64",
      "26.12.1",
      "jk5LMAmgHlPlPMWpsUrSOqNaEZG+11UNd35hWQ+p5/XGaelWuTqJ69IcAy/5xtPPN4d5ZRBNOGB6gLMCh2kL9A==",
    ],
    [
      "arm64",
      "26.12.0",
      "XhP/f29EvaVhyZFNxJmgVzQR//jv6YgeJ+HpTlaoAYQPU0GoPp1nPwcI8F4i8mYOOt9lE38KdUWrBX2hSA0H5g==",
    ],
  ] as const
).map(([arch, version, sum]) => ({ arch, version, integrity: `sha512-${sum}` }));

/** Programs and libraries with OpenSSL inside, whose symbols are not looked at; the truth is of headers (the files beside this one). */
const opensslSamples: readonly {
  readonly name: string;
  readonly file: () => Promise<string>;
  /** Null: what accessors of the same file tell, which its symbols lead to. */
  readonly truth: string | null;
}[] = [
  ...(
    [
      // quictls, of whose headers there is no package.
      ["x64", "18.12.1", null],
      ["x64", "20.20.2", "openssl-3.0.20"],
      ["x64", "22.23.3", "openssl-3.5.7"],
      ["x64", "26.12.1", "openssl-3.5.7"],
      ["arm64", "20.20.2", "openssl-3.0.20"],
      ["arm64", "22.23.3", "openssl-3.5.7"],
      ["arm64", "26.12.0", "openssl-3.5.7"],
    ] as const
  ).map(([arch, version, truth]) => ({
    name: `node ${version}, ${arch}`,
    file: () => {
      const sample = [...nodeSamples, ...more].find((one) => one.arch === arch && one.version === version);
      if (sample === undefined) throw new Error(`Node.js ${version} is no sample`);
      return loadNode(sample);
    },
    truth,
  })),
  ...(
    [
      ["bullseye", "libssl1.1", "libssl.so.1.1", "openssl-1.1.1w"],
      ["bookworm", "libssl3", "libssl.so.3", "openssl-3.0.20"],
      ["trixie", "libssl3t64", "libssl.so.3", "openssl-3.5.7"],
      ["experimental", "libssl4", "libssl.so.4", "openssl-4.0.2"],
    ] as const
  ).map(([suite, name, file, truth]) => ({
    name: `${name}, ${suite} amd64`,
    file: async () => join((await loadPackage(suite, name, "amd64")).root, "usr/lib/x86_64-linux-gnu", file),
    truth,
  })),
];

const truthIn = (layouts: Layouts, truth: Sample["truth"]): Readonly<Record<string, number | null>> =>
  typeof truth === "string" ? (layouts.groups[truth]?.constants ?? {}) : (truth ?? {});

const layouts = await loadLayouts("boringssl");
if (layouts === null) throw new Error("no layouts of BoringSSL");
let wrongs = 0;
console.log(
  "| file | layout | known | absent | null | compared | wrong |\n| --- | --- | --- | --- | --- | --- | --- |",
);
async function reportOf(path: string, ...sources: readonly Source[]) {
  const { reports } = await tlsReports({ scope: { kind: "files", paths: [path] }, sources });
  return reports[0];
}
const stripped: readonly Source[] = ["references", "table"];

/** One line of the table. @returns how many numbers are wrong */
function tell(
  name: string,
  report: Awaited<ReturnType<typeof reportOf>>,
  compared: number,
  wrong: readonly string[],
): number {
  const fields = Object.values(report?.fields ?? {});
  const known = fields.filter(({ value }) => value !== null).length;
  const absent = fields.filter(({ status }) => status === "absent").length;
  const row = [name, report?.layout ?? "none known", known, absent, fields.length - known - absent, compared];
  console.log(`| ${[...row, wrong.length].join(" | ")} |`);
  for (const one of wrong) console.log(`  ${one}`);
  return wrong.length;
}

for (const { name, file, truth } of samples) {
  const report = await reportOf(await file(), ...stripped);
  const known = truthIn(layouts, truth);
  const compared = Object.entries(report?.fields ?? {}).filter(
    ([constant, { value }]) => value !== null && Object.hasOwn(known, constant),
  );
  const wrong = compared.filter(([constant, { value }]) => known[constant] !== value);
  const told = wrong.map(([constant, { value }]) => `${constant}: ${value}, truth ${known[constant]}`);
  wrongs += tell(name, report, compared.length, told);
}
const numbersIn = (constants: Readonly<Record<string, number | null>> = {}): Record<string, number> =>
  Object.fromEntries(
    Object.entries(constants).flatMap(([constant, offset]) => (offset === null ? [] : [[constant, offset]])),
  );
for (const { name, file, truth } of opensslSamples) {
  const path = await file();
  const report = await reportOf(path, ...stripped);
  const own = numbersIn((await reportOf(path, "code"))?.constants);
  // Of its own accessors not all members have one.
  const constants = Object.fromEntries(
    Object.entries(numbersIn(report?.constants)).filter(
      ([constant]) => truth !== null || Object.hasOwn(own, constant),
    ),
  );
  const wrong = wrongNumbers({ tls: [{ constants }] }, truth === null ? own : truthOf(truth));
  const compared = Object.keys(constants).length;
  wrongs += tell(
    name,
    report,
    compared,
    wrong.map(({ constant, value, truth: offset }) => `${constant}: ${value}, truth ${offset}`),
  );
}
process.exit(wrongs === 0 ? 0 : 1);
