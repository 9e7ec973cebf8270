import { expect, test } from "bun:test";
import { mkdtempSync, rmSync, statSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { tlsReports } from "../../../src/tls/tls.ts";
import { writeFurtherOn } from "./huge.ts";
import { loadNode, nodeSamples } from "./node.ts";

/** What a file is told to have, and what is said of it, without its name. */
async function told(path: string) {
  const { reports, diagnostics } = await tlsReports({
    scope: { kind: "files", paths: [path] },
    sources: ["code", "references", "table"],
  });
  return {
    reports: reports.map((report) => ({ ...report, path: null })),
    diagnostics: diagnostics.map(({ code }) => code),
  };
}

test("a program of 5 GiB is read as the same program of 100 MB: its version, code, symbols and texts", async () => {
  const sample = nodeSamples.find(({ arch, version }) => arch === "x64" && version === "20.20.2");
  if (sample === undefined) throw new Error("Node.js 20.20.2 is no sample");
  const small = await loadNode(sample);
  const folder = mkdtempSync(join(tmpdir(), "offsetof-huge-"));
  try {
    const huge = join(folder, "node");
    writeFurtherOn(small, huge, 5 * 2 ** 30);
    expect(statSync(huge).size).toBeGreaterThan(2 ** 32);
    const whole = await told(small);
    const [report, ...others] = whole.reports;
    expect(others).toEqual([]);
    expect(Object.values(report?.constants ?? {}).filter((offset) => offset !== null).length).toBeGreaterThan(
      20,
    );
    const further = await told(huge);
    // Where functions lie in the file is further on.
    const [far] = further.reports;
    expect(Object.values(far?.functions ?? {}).map(({ offset }) => (offset ?? 0) - 5 * 2 ** 30)).toEqual(
      Object.values(report?.functions ?? {}).map(({ offset }) => offset ?? 0),
    );
    const shorn = (told_: typeof whole) => ({
      ...told_,
      reports: told_.reports.map((one) => ({ ...one, functions: null })),
    });
    expect(shorn(further)).toEqual(shorn(whole));
  } finally {
    rmSync(folder, { recursive: true });
  }
}, 400_000);
