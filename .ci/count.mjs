// count.mjs FILE...: prints "N passed, N failed" from JUnit reports; fails when of one no test passed, or a test failed.
import { existsSync, readFileSync } from "node:fs";

const sum = { passed: 0, failed: 0, skipped: 0 };
let isWhole = true;
for (const file of process.argv.slice(2)) {
  const report = existsSync(file) ? readFileSync(file, "utf8") : "";
  const totals = /<testsuites\b[^>]*>/.exec(report)?.[0] ?? "";
  const count = (name) => Number(new RegExp(`\\b${name}="(\\d+)"`).exec(totals)?.[1] ?? 0);
  const [tests, failed, skipped] = ["tests", "failures", "skipped"].map(count);
  const passed = tests - failed - skipped;
  if (passed === 0) console.error(`count.mjs: no test passed according to ${file}`);
  isWhole &&= passed > 0;
  sum.passed += passed;
  sum.failed += failed;
  sum.skipped += skipped;
}
console.log(`${sum.passed} passed, ${sum.failed} failed${sum.skipped > 0 ? `, ${sum.skipped} skipped` : ""}`);
process.exit(isWhole && sum.failed === 0 ? 0 : 1);
