import { SystemError } from "../../../ffi/error.ts";
import { openEvent, WaitingReads } from "../../../ffi/uring.ts";
import { randomInt } from "../../self/random.ts";
import { eventfd, kiocb } from "../members/requests.ts";
import type { Thing } from "../members/row.ts";
import type { Files } from "./open-files.ts";

/** How many reads wait. */
const READS = 3;

/**
 * Has reads wait for events that never come, each at a position of its own, which means nothing to an event.
 * They go with `owned`. @param limits where to say why there are none
 */
export function waitForEvents(owned: DisposableStack, files: Files, limits: string[]): void {
  try {
    const reads = Array.from({ length: READS }, () => {
      const position = BigInt(randomInt(1, 2 ** 52));
      const facts: { file?: Thing; readonly position: bigint } = { position };
      const descriptor = owned.use(openEvent());
      facts.file = files.add(descriptor, eventfd.of({ request: kiocb.of(facts) }), true);
      return { fd: descriptor.fd, position };
    });
    owned.use(new WaitingReads(reads));
  } catch (error) {
    if (!(error instanceof SystemError)) throw error;
    limits.push(`reads that wait: ${error.message}`);
  }
}
