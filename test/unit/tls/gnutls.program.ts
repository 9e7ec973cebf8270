/**
 * bun gnutls.program.ts FILE FUNCTION...: what the probe finds of a GnuTLS as it is, and without each of the functions, as JSON: function
 * to constant to candidates and reason. A process of its own: the library's code runs in it.
 */
import { GnutlsLibrary } from "../../../ffi/gnutls.ts";
import { NativeLibrary } from "../../../ffi/library.ts";
import { probeGnutls } from "../../../src/tls/probe/gnutls.ts";

const [file = "", ...names] = process.argv.slice(2);
const loaded = NativeLibrary.open(file);

function findingsWithout(dropped: string) {
  const symbol = (name: string) => (name === dropped ? null : loaded.symbol(name));
  return Object.fromEntries(
    probeGnutls(new GnutlsLibrary({ symbol })).map(({ constant, ...found }) => [constant, found]),
  );
}

console.log(JSON.stringify(Object.fromEntries(["", ...names].map((name) => [name, findingsWithout(name)]))));
