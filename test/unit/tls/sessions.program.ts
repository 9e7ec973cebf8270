/**
 * bun sessions.program.ts FILE... -- FUNCTION...: the sessions that a library makes for a verification, as it is and
 * without each of the functions, as JSON: function to sessions. A process of its own: the library's code runs in it.
 */

import { NativeLibrary } from "../../../ffi/library.ts";
import { TlsLibrary } from "../../../ffi/openssl.ts";
import { socketPair } from "../../../ffi/socket-calls.ts";
import { makeSessions } from "../../../src/tls/probe/sessions.ts";

const args = process.argv.slice(2);
const files = args.slice(0, args.indexOf("--"));
const loaded = files.map((file) => NativeLibrary.open(file)).at(-1);
if (loaded === undefined) throw new Error("no file was given");

const sessions = ["", ...args.slice(files.length + 1)].map((dropped) => {
  using sockets = new DisposableStack();
  const [client, server] = socketPair().map((socket) => sockets.use(socket));
  if (client === undefined || server === undefined) throw new Error("a pair has two ends");
  const symbol = (name: string) => (name === dropped ? null : loaded.symbol(name));
  return [dropped, makeSessions(new TlsLibrary({ symbol }), [client.fd, server.fd])];
});
console.log(JSON.stringify(Object.fromEntries(sessions)));
