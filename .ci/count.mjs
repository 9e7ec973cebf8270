// count.mjs FILE: prints "N passed, N failed" from a JUnit report; fails when no test ran or one failed.
import { existsSync, readFileSync } from "node:fs";

const file = process.argv[2];
const report = existsSync(file) ? readFileSync(file, "utf8") : "";
const totals = /<testsuites\b[^>]*>/.exec(report)?.[0] ?? "";
const count = (name) => Number(new RegExp(`\\b${name}="(\\d+)"`).exec(totals)?.[1] ?? 0);

const [tests, failures, skipped] = ["tests", "failures", "skipped"].map(count);
const passed = tests - failures - skipped;
if (passed === 0) console.error(`count.mjs: no test passed according to ${file}`);
console.log(`${passed} passed, ${failures} failed${skipped > 0 ? `, ${skipped} skipped` : ""}`);
process.exit(passed > 0 && failures === 0 ? 0 : 1);
