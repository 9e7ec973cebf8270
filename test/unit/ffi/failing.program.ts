/** bun failing.program.ts NAME [ARGUMENT]: does one thing with the C library and prints the error that comes of it. */
import * as libc from "../../../ffi/libc.ts";
import { ConntrackNetlink } from "../../../src/net/conntrack.ts";
import { RouteNetlink } from "../../../src/net/route.ts";

const [name = "", argument = ""] = process.argv.slice(2);
const kept: unknown[] = [];

const acts: Readonly<Record<string, () => void>> = {
  unshare: () => libc.unshareNetwork(),
  setns: () => {
    using namespace = libc.open(argument);
    libc.enterNetwork(namespace);
  },
  memfd: () => void libc.memoryFile("some.so", new Uint8Array(1)),
  packet: () => void libc.socket(libc.AF_PACKET, libc.SOCK_RAW),
  user: () => libc.changeUser(65534, 65534),
  link: () => new RouteNetlink().setLinkUp(1),
  conntrack: () => {
    const end = { address: Uint8Array.of(127, 0, 0, 1), port: 1 };
    new ConntrackNetlink().add({ source: end, destination: end }, { source: end, destination: end }, 0);
  },
  localRoute: () =>
    new RouteNetlink().addLocalRoute(1, libc.AF_INET6, Uint8Array.of(0xfd, ...new Uint8Array(15)), 8),
  descriptors: () => {
    libc.setLimit(libc.RLIMIT_NOFILE, 40);
    for (let count = 0; count < 41; count++) kept.push(libc.open("/proc/self/status"));
  },
  limit: () => libc.setLimit(libc.RLIMIT_NOFILE, 1 << 29),
  memory: () => {
    using file = libc.memoryFile("shared", new Uint8Array(1));
    libc.setLimit(libc.RLIMIT_AS, 1 << 20);
    new libc.Mapping(file.fd, 1 << 20, "shared")[Symbol.dispose]();
  },
  program: () => void libc.runProgram(argument, [argument]),
};

try {
  acts[name]?.();
  libc.writeAll(1, new TextEncoder().encode("nothing failed\n"), "the answer");
} catch (error) {
  libc.writeAll(
    1,
    new TextEncoder().encode(`${error instanceof Error ? error.message : error}\n`),
    "the answer",
  );
}
libc.exitNow(0);
