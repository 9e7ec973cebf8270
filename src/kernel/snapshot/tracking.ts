import { existsSync, readFileSync } from "node:fs";
import { AF_INET } from "../../../ffi/socket-calls.ts";
import {
  ConntrackNetlink,
  IPPROTO_UDP,
  IPS_ASSURED,
  IPS_CONFIRMED,
  IPS_SEEN_REPLY,
  type Tuple,
} from "../../net/conntrack.ts";
import { isWithoutNamespaces, NO_NAMESPACES } from "../../net/namespace.ts";
import { occurs } from "../../offsets/observation.ts";
import { pointerAt } from "../../offsets/pointers.ts";
import type { Solution } from "../../offsets/solver.ts";
import { host, masked, network, pointer, raw } from "../../offsets/values.ts";
import { randomInt } from "../../self/random.ts";
import type { KernelConstant } from "../fields/fields.ts";
import { addressing } from "../running/addressing.ts";
import { type Symbols, symbolsHere } from "../running/kallsyms.ts";
import { facts } from "../stimulus/facts.ts";
import { whyNoNamespaces } from "../stimulus/private-network.ts";
import { INTERRUPTIONS } from "./recorder.ts";
import { type GuessScene, type Site, solveStruct } from "./sites.ts";

/** What the entries are marked with, one entry each in the first site, and the first of them in the others. */
const statuses = [IPS_CONFIRMED | IPS_SEEN_REPLY, IPS_CONFIRMED | IPS_SEEN_REPLY | IPS_ASSURED];
/** Bits that the kernel sets when it likes: CONFIRMED, SEQ_ADJUST, SRC_NAT_DONE, DST_NAT_DONE, DYING, FIXED_TIMEOUT. */
const STATUS_KNOWN = ~((1 << 3) | (1 << 6) | (1 << 7) | (1 << 8) | (1 << 9) | (1 << 10));

/** IP_CT_DIR_ORIGINAL and IP_CT_DIR_REPLY, kept in the tuple itself. */
const ORIGINAL = 0;
const REPLY = 1;
/** union nf_inet_addr. */
const SIZE_OF_ADDRESS = 16;

/** Solves struct nf_conn by conntrack entries that it makes in the private namespaces, without any traffic. */
export function solveTracking(scene: GuessScene, netnsOffset: number | null): [KernelConstant, Solution][] {
  const { recorder, sites } = scene;
  if (recorder.rung("nf_conn") === undefined) return [];
  // Entries stay until they time out or their namespace goes: none are left in a namespace that is not ours.
  if (whyNoNamespaces(sites.map((site) => site.network)) !== null) return [];
  sites.forEach((site, index) => {
    const marks = index === 0 ? statuses : statuses.slice(0, 1);
    site.network.inside(() => addEntries(scene, site, marks, netnsOffset));
  });
  return [...solveStruct(scene, "nf_conn")].map(([constant, solution]) => [
    constant as KernelConstant,
    solution,
  ]);
}

/** Why no entries can be made. A request to nfnetlink would load the modules; a run must not load any. */
export function whyNoCtnetlink(symbols: Symbols = symbolsHere()): string | null {
  if (isWithoutNamespaces()) return NO_NAMESPACES;
  if (!TRACKING_SIGNS.some((path) => existsSync(path))) return missing("nf_conntrack");
  const room = roomForEntries();
  if (room !== null && room < statuses.length)
    return `${MOST_ENTRIES} is ${room}, too few for ${statuses.length} entries (sysctl net.netfilter.nf_conntrack_max)`;
  if (existsSync("/sys/module/nf_conntrack_netlink")) return null;
  if (symbols.hasFunction("ctnetlink_new_conntrack") === true) return null; // built in
  return missing("nf_conntrack_netlink");
}

/**
 * The file that says how many entries a namespace may have; 0: any number. One more makes the kernel log "table full"
 * (__nf_conntrack_alloc).
 */
const MOST_ENTRIES = "/proc/sys/net/netfilter/nf_conntrack_max";

/** How many entries each network namespace has room for; null where there is no limit. */
function roomForEntries(): number | null {
  try {
    return Number(readFileSync(MOST_ENTRIES, "latin1")) || null;
  } catch {
    return null; // Without the sysctl there is no way to know, nor any to have lowered it.
  }
}

/** One of them is there once the kernel tracks connections, be it by a module or built in. */
const TRACKING_SIGNS = ["/sys/module/nf_conntrack", MOST_ENTRIES];

const missing = (module: string): string =>
  `the module ${module} is not loaded (modprobe nf_conntrack_netlink loads all that is needed)`;

function addEntries(
  { recorder }: GuessScene,
  { network: site, witness }: Site,
  marks: readonly number[],
  netnsOffset: number | null,
): void {
  using conntrack = new ConntrackNetlink();
  const [sock] = witness.seen("sock");
  const net = sock === undefined || netnsOffset === null ? null : pointerAt(sock, netnsOffset, addressing);
  for (const status of marks) {
    const end = () => ({ address: site.address(AF_INET), port: randomInt(1024, 65024) });
    const original = { source: end(), destination: end() };
    const reply = { source: end(), destination: end() };
    // A packet of others that interrupts this thread may be entered as well (__nf_conntrack_confirm).
    const hit = recorder
      .during(() => conntrack.add(original, reply, status), { nf_conn: 1 + INTERRUPTIONS })
      .find((each) => occurs(each, original.source.address));
    if (hit === undefined) continue;
    const expected = facts([
      ["offset_ct_origin", raw(encode(original, ORIGINAL))],
      ["offset_ct_reply", raw(encode(reply, REPLY))],
      ["offset_ct_status", masked(4, status, STATUS_KNOWN)],
      ...(net === null ? [] : ([["offset_ct_netns", pointer(net)]] as const)),
    ]);
    witness.note("nf_conn", hit, expected);
  }
}

/** struct nf_conntrack_tuple: src {u3, u, l3num}, dst {u3, u, protonum, dir}. */
function encode({ source, destination }: Tuple, direction: number): Uint8Array {
  const address = (bytes: Uint8Array) => [...bytes, ...new Uint8Array(SIZE_OF_ADDRESS - bytes.length)];
  return Uint8Array.of(
    ...address(source.address),
    ...network(2, source.port).value,
    ...host(2, AF_INET).value,
    ...address(destination.address),
    ...network(2, destination.port).value,
    IPPROTO_UDP,
    direction,
  );
}
