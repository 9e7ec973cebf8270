import type { SharedArray } from "../../ffi/bpf-map.ts";
import type { Libbpf } from "../../ffi/libbpf.ts";
import { AF_INET } from "../../ffi/socket-calls.ts";
import { differ, type Expectation, type Facts, holds } from "../offsets/observation.ts";
import { host } from "../offsets/values.ts";
import { type KernelConstant, kernelFields } from "./fields/fields.ts";
import type { GuessOptions, Stability } from "./fields/options.ts";
import { NamedThread } from "./running/named-thread.ts";
import { evidenceOf, type Guess, openNetworks } from "./snapshot/guess.ts";
import { CONTROL, SLOT_COUNT } from "./snapshot/recorder.ts";
import { openConnections, type Spectator, type Transition } from "./stimulus/connection.ts";
import { type ConnectionEnd, sockFacts } from "./stimulus/facts.ts";
import type { Network } from "./stimulus/private-network.ts";

const PROGRAM = "tp_btf_inet_sock_set_state";
const WHERE = "tp_btf:inet_sock_set_state";

/** The members that bpf/socket_typed.bpf.c reads, in its order. */
const members = [
  "offset_family",
  "offset_saddr",
  "offset_daddr",
  "offset_dport",
  "offset_num",
  "offset_state",
  "offset_saddr_ipv6",
  "offset_daddr_ipv6",
  "offset_ino",
  "offset_sport",
  "offset_rtt",
  "offset_rtt_var",
] as const satisfies readonly KernelConstant[];

/** Struct typed and struct member of that program. */
const TYPED = { from: 0, to: 4, netnsOffset: 8, members: 16 } as const;
const MEMBER = { offset: 0, width: 4, value: 8, size: 24 } as const;

/** A member of one socket, as the kernel's BTF led to it. */
interface Member {
  readonly offset: number;
  readonly value: Uint8Array;
}

/** What the program read of one socket. */
interface Reading {
  readonly from: number;
  readonly to: number;
  readonly netnsOffset: number;
  readonly members: ReadonlyMap<KernelConstant, Member>;
}

/**
 * Measures members of struct sock by typed reads, for kernels that let eBPF read nothing else. They say nothing of
 * other places: that a member holds what it should at the offset that the kernel's BTF has for it is what they prove.
 *
 * @param otherwise the reason of all constants that typed reads do not reach
 * @throws SystemError when the kernel refuses the program, or has no BTF for it
 */
export function typedReads(
  libbpf: Libbpf,
  bytecode: Uint8Array,
  { families, stability }: Pick<GuessOptions, "families" | "stability">,
  otherwise: string,
): Guess {
  using owned = new DisposableStack();
  const object = owned.use(libbpf.openObject(bytecode, "socket_typed"));
  object.load();
  owned.use(object.program(PROGRAM).attach(WHERE));
  const [controls, slots] = [
    owned.use(object.map("controls").share()),
    owned.use(object.map("slots").share()),
  ];
  const { name } = owned.use(new NamedThread());
  const reader = new Reader(controls, slots, name);

  const { networks, limits } = openNetworks(owned);
  const witnesses = networks.map((network) => new TypedWitness(reader, network, stability));
  const places = witnesses.map((spectator) => ({ network: spectator.network, spectator }));
  for (const connection of openConnections(owned, places, families, new Map())) connection.closeClient();

  const seen = witnesses.flatMap((witness) => witness.seen);
  const solutions = new Map(members.map((constant) => [constant as string, measure(constant, seen)]));
  const ino = solutions.get("offset_ino");
  const netns = seen[0]?.reading.netnsOffset;
  // The way to the right inode number leads through the pointer to struct net.
  if (ino?.is === "solved" && netns !== undefined)
    solutions.set("offset_netns", { is: "solved", offset: netns }).set("offset_ct_ino", ino);
  return {
    evidence: kernelFields.map(({ constant }) =>
      evidenceOf(constant, solutions.get(constant) ?? { is: "open", reason: otherwise }),
    ),
    attached: [WHERE],
    events: reader.events,
    limits,
    attempts: 1,
  };
}

/** A reading, and what must stand in the socket then. */
interface TypedSighting {
  readonly reading: Reading;
  readonly expected: Facts;
}

/** A member is measured where every reading holds what it should, and that was not always the same. */
function measure(constant: KernelConstant, seen: readonly TypedSighting[]) {
  const pairs = seen.flatMap(({ reading, expected }): [Member, Expectation][] => {
    const [member, expectation] = [reading.members.get(constant), expected.get(constant)];
    return member === undefined || expectation === undefined ? [] : [[member, expectation]];
  });
  const [first] = pairs;
  if (first === undefined) return { is: "open", reason: "never observed" } as const;
  if (!pairs.every(([member, expectation]) => holds(member.value, 0, expectation)))
    return { is: "open", reason: `${WHERE}: the member does not hold the expected value` } as const;
  // Memory that is not used holds one value as well.
  if (!differ(pairs.map(([, expectation]) => expectation)))
    return { is: "open", reason: `${WHERE}: only one value was ever seen, which proves nothing` } as const;
  return { is: "solved", offset: first[0].offset } as const;
}

/** Watches a connection's changes of state. */
class TypedWitness implements Spectator {
  readonly seen: TypedSighting[] = [];

  constructor(
    private readonly reader: Reader,
    readonly network: Network,
    readonly stability: Stability,
  ) {}

  moving(act: () => void, transitions: readonly Transition[]): void {
    for (const reading of this.reader.during(act)) {
      const known = transitions.find(
        ({ from, to, end }) => from === reading.from && to === reading.to && isOurs(reading, end),
      );
      if (known === undefined) continue;
      // trace_inet_sock_set_state runs before the new state is stored, so `from` still stands in the struct.
      const expected = new Map(sockFacts(known.end, known.from, known.timing));
      const { inode } = this.network;
      if (inode !== null) expected.set("offset_ino", host(4, inode));
      this.seen.push({ reading, expected });
    }
  }

  /** The tracepoint shows changes of state alone. */
  resting(): void {}
}

/** A socket is ours only if it has the random address that we chose; packets of others may arrive on this thread. */
function isOurs({ members }: Reading, { own }: ConnectionEnd): boolean {
  const saddr = members.get(own.family === AF_INET ? "offset_saddr" : "offset_saddr_ipv6");
  return saddr !== undefined && holds(saddr.value, 0, { value: own.address });
}

/** Hands out what the program read of this thread's sockets. */
class Reader {
  events = 0;

  constructor(
    private readonly controls: SharedArray,
    private readonly slots: SharedArray,
    private readonly name: Uint8Array,
  ) {}

  /** Runs `act` and returns what was read meanwhile. */
  during(act: () => void): Reading[] {
    const control = new Uint8Array(CONTROL.size);
    control.set(this.name);
    this.controls.write(0, control);
    act();
    const filled = new DataView(this.controls.read(0).buffer).getUint32(CONTROL.next, true);
    this.controls.write(0, new Uint8Array(CONTROL.size)); // no thread bears an empty name
    this.events += filled;
    return Array.from({ length: Math.min(filled, SLOT_COUNT) }, (_, index) => decode(this.slots.read(index)));
  }
}

/** Reads struct typed. */
function decode(slot: Uint8Array): Reading {
  const view = new DataView(slot.buffer, slot.byteOffset);
  const read = members.flatMap((constant, index): [KernelConstant, Member][] => {
    const at = TYPED.members + index * MEMBER.size;
    const width = view.getUint32(at + MEMBER.width, true);
    const value = slot.subarray(at + MEMBER.value, at + MEMBER.value + width);
    return width === 0 ? [] : [[constant, { offset: view.getUint32(at + MEMBER.offset, true), value }]];
  });
  return {
    from: view.getUint32(TYPED.from, true),
    to: view.getUint32(TYPED.to, true),
    netnsOffset: view.getUint32(TYPED.netnsOffset, true),
    members: new Map(read),
  };
}
