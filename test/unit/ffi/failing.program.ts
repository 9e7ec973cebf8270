/** bun failing.program.ts NAME [ARGUMENT]: does one thing with the C library and prints the error that comes of it. */

import { changeUser, RLIMIT_AS, RLIMIT_NOFILE, runProgram, setLimit } from "../../../ffi/confinement.ts";
import { Mapping, memoryFile, open, writeAll } from "../../../ffi/descriptors.ts";
import { exitNow } from "../../../ffi/libc.ts";
import { AF_INET6, AF_PACKET, SOCK_RAW, socket } from "../../../ffi/socket-calls.ts";
import { enterNetwork, unshareNetwork } from "../../../ffi/thread.ts";
import { ConntrackNetlink } from "../../../src/net/conntrack.ts";
import { RouteNetlink } from "../../../src/net/route.ts";

const [name = "", argument = ""] = process.argv.slice(2);
const kept: unknown[] = [];

const acts: Readonly<Record<string, () => void>> = {
  unshare: () => unshareNetwork(),
  setns: () => {
    using namespace = open(argument);
    enterNetwork(namespace);
  },
  memfd: () => void memoryFile("some.so", new Uint8Array(1)),
  packet: () => void socket(AF_PACKET, SOCK_RAW),
  user: () => changeUser(65534, 65534),
  link: () => new RouteNetlink().setLinkUp(1),
  conntrack: () => {
    const end = { address: Uint8Array.of(127, 0, 0, 1), port: 1 };
    new ConntrackNetlink().add({ source: end, destination: end }, { source: end, destination: end }, 0);
  },
  localRoute: () =>
    new RouteNetlink().addLocalRoute(1, AF_INET6, Uint8Array.of(0xfd, ...new Uint8Array(15)), 8),
  descriptors: () => {
    setLimit(RLIMIT_NOFILE, 40);
    for (let count = 0; count < 41; count++) kept.push(open("/proc/self/status"));
  },
  limit: () => setLimit(RLIMIT_NOFILE, 1 << 29),
  memory: () => {
    using file = memoryFile("shared", new Uint8Array(1));
    setLimit(RLIMIT_AS, 1 << 20);
    new Mapping(file.fd, 1 << 20, "shared")[Symbol.dispose]();
  },
  program: () => void runProgram(argument, [argument]),
};

try {
  acts[name]?.();
  writeAll(1, new TextEncoder().encode("nothing failed\n"), "the answer");
} catch (error) {
  writeAll(1, new TextEncoder().encode(`${error instanceof Error ? error.message : error}\n`), "the answer");
}
exitNow(0);
