/**
 * bun missing.program.ts LIBRARY FILE...: what the probe finds of a library as it is, and without each function that the
 * library has, as JSON: function to constant to candidates and reason. A process of its own: the library's code runs in it.
 */
import { TlsCallError } from "../../../ffi/calls.ts";
import { NativeLibrary } from "../../../ffi/library.ts";
import { functionNames, TlsLibrary } from "../../../ffi/openssl.ts";
import { probeBoringssl } from "../../../src/tls/probe/boringssl.ts";
import { probeOpenssl } from "../../../src/tls/probe/openssl.ts";

const [library, ...files] = process.argv.slice(2);
const loaded = files.map((file) => NativeLibrary.open(file)).at(-1);
if (loaded === undefined) throw new Error("no file was given");
const probe = library === "boringssl" ? probeBoringssl : probeOpenssl;

function findingsWithout(dropped: string) {
  const symbol = (name: string) => (name === dropped ? null : (loaded?.symbol(name) ?? null));
  try {
    const findings = probe(new TlsLibrary({ symbol }));
    return Object.fromEntries(
      findings.map(({ constant, candidates, reason }) => [constant, { candidates, reason }]),
    );
  } catch (error) {
    if (error instanceof TlsCallError) return error.message;
    throw error;
  }
}

const names = functionNames.filter((name) => loaded.symbol(name) !== null);
console.log(JSON.stringify(Object.fromEntries(["", ...names].map((name) => [name, findingsWithout(name)]))));
