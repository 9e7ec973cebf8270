import { secretsOf } from "../bytecode/event-secrets.ts";
import type { TlsEvent } from "../bytecode/events.ts";
import { secretDigest } from "../tls/probe/sessions.ts";

/** More ends of connections than these are not kept; each has less than a kilobyte. */
const MOST_ENDS = 100_000;

/** One end of a connection as it was read. No secret: digests of them alone. */
export interface ReadEnd {
  /** The client's, in hex. */
  readonly random: string;
  readonly version: number | null;
  readonly cipher_id: number | null;
  readonly fd: number | null;
  readonly server: boolean | null;
  /** See {@link TlsEvent}. */
  readonly by_direction: boolean;
  /** Label of the key log to the SHA-256 of the secret, in hex. */
  readonly secrets: ReadonlyMap<string, string>;
}

/** Collects what events tell of connections. Their secrets are wiped as they are replaced, and all with it. */
export class Connections implements Disposable {
  readonly #ends = new Map<string, TlsEvent>();
  #events = 0;
  #dropped = 0;

  /** Takes over an event of the eBPF program, with the secrets in it. */
  add(event: TlsEvent): void {
    this.#events += 1;
    if (event.client_random === null) return;
    const key = `${event.tgid} ${event.ssl} ${hex(event.client_random)}`;
    const before = this.#ends.get(key);
    if (before === undefined && this.#ends.size >= MOST_ENDS) {
      this.#dropped += 1;
      wipe(event);
      return;
    }
    this.#ends.set(key, before === undefined ? event : joined(before, event));
  }

  /** How many events there were. */
  get events(): number {
    return this.#events;
  }

  /** How many events were of connections for which there was no room. */
  get dropped(): number {
    return this.#dropped;
  }

  /** Each end once, with everything that was read of it. */
  ends(): readonly ReadEnd[] {
    return [...this.#ends.values()].map((event) => {
      const { client_random: random, version, cipher_id, fd, server, by_direction } = event;
      return {
        random: random === null ? "" : hex(random),
        version,
        cipher_id,
        fd,
        server,
        by_direction,
        secrets: digestsOf(event),
      };
    });
  }

  [Symbol.dispose](): void {
    for (const event of this.#ends.values()) wipe(event);
    this.#ends.clear();
  }
}

const hex = (bytes: Uint8Array): string => Buffer.from(bytes).toString("hex");

/** What two events tell of one end: the later one goes first. What it replaces is wiped. */
function joined(before: TlsEvent, after: TlsEvent): TlsEvent {
  const known = Object.fromEntries(Object.entries(after).filter(([, value]) => value !== null));
  for (const [name, value] of Object.entries(before)) {
    if (value instanceof Uint8Array && name in known) value.fill(0);
  }
  return { ...before, ...known };
}

function wipe(event: TlsEvent): void {
  for (const value of Object.values(event)) if (value instanceof Uint8Array) value.fill(0);
}

/** Digests of what the event's key log would have. */
function digestsOf(event: TlsEvent): ReadonlyMap<string, string> {
  const secrets = secretsOf(event);
  const digests = new Map([...secrets].map(([label, secret]) => [label, secretDigest(secret)]));
  for (const secret of secrets.values()) secret.fill(0);
  return digests;
}
