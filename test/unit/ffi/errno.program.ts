/** bun errno.program.ts: receives from a socket on which nothing has come, again and again. Prints what was told instead. */

import { SystemError } from "../../../ffi/error.ts";
import { recvNow, socketPair } from "../../../ffi/socket-calls.ts";

const [one, other] = socketPair();
const wrong = new Set<string>();
for (let round = 0; round < 2000; round++) {
  try {
    recvNow(one.fd, new Uint8Array(8));
  } catch (error) {
    if (!(error instanceof SystemError)) throw error;
    wrong.add(error.message);
  }
}
other[Symbol.dispose]();
console.log(JSON.stringify([...wrong]));
