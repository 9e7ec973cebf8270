import { expect, test } from "bun:test";
import { readFileSync, writeSync } from "node:fs";
import { waitReadable } from "../../../ffi/socket-calls.ts";
import { openEvent, WaitingReads } from "../../../ffi/uring.ts";
import { until } from "../../until.ts";

/** Whether io_uring may be used here: sysctl(8) kernel.io_uring_disabled, since Linux 6.6. */
const isForbidden = (): boolean => {
  try {
    return readFileSync("/proc/sys/kernel/io_uring_disabled", "utf8").trim() !== "0";
  } catch {
    return false;
  }
};

test.skipIf(isForbidden())("a read waits for an event until it is disposed of, and no longer", async () => {
  using event = openEvent();
  const happen = () => writeSync(event.fd, new Uint8Array(new BigUint64Array([1n]).buffer));
  {
    using _ = new WaitingReads([{ fd: event.fd, position: 2n ** 40n }]);
    expect(waitReadable(event.fd, 0)).toBe(false);
    happen();
    await until(() => !waitReadable(event.fd, 0)); // the read that waited took it
  }
  {
    using _ = new WaitingReads([{ fd: event.fd, position: 2n ** 40n }]);
  }
  // What is disposed of may end a moment later.
  await until(() => {
    happen();
    return waitReadable(event.fd, 0);
  });
});
