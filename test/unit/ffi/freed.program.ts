/** bun freed.program.ts FILE...: uses what a TLS library made after the library has freed it, and prints what each use throws. */
import { NativeLibrary } from "../../../ffi/library.ts";
import { suites, TlsLibrary } from "../../../ffi/openssl.ts";
import { credentials } from "../../../src/tls/probe/credentials.ts";

const loaded = process.argv
  .slice(2)
  .map((file) => NativeLibrary.open(file))
  .at(-1);
if (loaded === undefined) throw new Error("no file was given");
const library = new TlsLibrary(loaded);
const connection = library.context(suites.tls13Sha256, credentials).connection("client");
const [read, write] = [library.memoryBio(), library.memoryBio()];
connection.setBios(read, write);
connection.free();

const uses: Readonly<Record<string, () => unknown>> = {
  handshake: () => connection.handshake(),
  version: () => connection.version,
  write: () => connection.write(),
  free: () => connection.free(),
  take: () => read.take(),
  put: () => write.put(Buffer.from("x")),
  type: () => write.type,
};
const thrown = Object.entries(uses).map(([name, use]) => {
  try {
    return [name, String(use())];
  } catch (error) {
    return [name, error instanceof Error ? error.name : "?"];
  }
});
console.log(JSON.stringify(Object.fromEntries(thrown)));
