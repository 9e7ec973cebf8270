import { expect, test } from "bun:test";
import type { Verified, VerifiedKernel, VerifiedTls } from "../../../src/output/verify-schema.ts";
import { hasHeld } from "../../../src/verify/held.ts";

const held = { compared: 4, held: 4 };
const kernel: VerifiedKernel = {
  bytecode: "socket_reader",
  attached: [],
  constants: { offset_saddr: held },
  not_compared: [],
  not_seen: {},
};
const library: VerifiedTls = {
  path: "/libssl.so.3",
  bytecode: "tls_openssl_3_0",
  attached: [],
  connections: 2,
  ends: 4,
  missed: 0,
  events: 9,
  lost: 0,
  items: { random: { ...held, constants: [] } },
  not_compared: ["SSL_ST_WBIO"],
  not_known: [],
};
const silent: VerifiedTls = { ...library, connections: 0, ends: 0, items: {}, reason: "it is not trusted" };
const wrong = { compared: 4, held: 3 };

test.each<[string, boolean, Verified]>([
  ["all of both", true, { kernel, tls: [library] }],
  ["of another library nothing was compared", false, { tls: [library, silent] }],
  ["no library on this machine", true, { kernel, tls: [] }],
  ["a constant of the kernel did not", false, { kernel: { ...kernel, constants: { offset_saddr: wrong } } }],
  ["nothing of the kernel was compared", false, { kernel: { ...kernel, constants: {} } }],
  ["one of the kernel was not compared", false, { kernel: { ...kernel, not_compared: ["offset_rtt"] } }],
  ["nothing of any library was compared", false, { tls: [silent, silent] }],
  ["an item did not", false, { tls: [library, { ...library, items: { fd: { ...wrong, constants: [] } } }] }],
  ["an end was missed", false, { tls: [{ ...library, missed: 1 }] }],
  [
    "an end of a library without a comparison was missed",
    false,
    { tls: [library, { ...silent, missed: 1 }] },
  ],
  ["a constant of the library is not known", false, { tls: [{ ...library, not_known: ["SSL_ST_RBIO"] }] }],
  ["an event was lost", false, { tls: [{ ...library, lost: 1 }] }],
])("%s: %p", (_, isTrue, verified) => {
  expect(hasHeld(verified)).toBe(isTrue);
});
