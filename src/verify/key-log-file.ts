import { InputFile } from "../input/input.ts";
import { shownName } from "../input/name.ts";
import { secretDigest } from "../tls/probe/sessions.ts";

/** What a key log may gain while it is watched; bytes. */
export const largestGain = 64 << 20;

/** The secrets of each connection by the client's random (in hex): by the key log's label, the SHA-256 of the secret in hex. */
export type Digests = ReadonlyMap<string, ReadonlyMap<string, string>>;

/** What a program adds to a key log from now on. Its secrets become digests as they are read, and no text before. */
export class KeyLog {
  readonly #path: string;
  readonly #identity: string;
  readonly #start: number;

  /** @throws InputError where it is no regular file, the system's error where it cannot be opened */
  constructor(path: string) {
    this.#path = path;
    using file = open(path);
    this.#identity = file.identity;
    this.#start = file.size;
  }

  /**
   * What was added until now, to be read when there is time for it. A file that was replaced or cut short is read from its
   * beginning. @throws as above
   */
  added(): Disposable & { digests(): Digests } {
    const file = open(this.#path);
    const isSame = file.identity === this.#identity && file.size >= this.#start;
    const start = isSame ? this.#start : 0;
    return {
      digests() {
        const bytes = file.read(start, file.size - start, "what was added to the key log", largestGain);
        try {
          return digestsIn(bytes);
        } finally {
          bytes.fill(0);
        }
      },
      [Symbol.dispose]: () => file[Symbol.dispose](),
    };
  }
}

/** Links are followed: the user named it. */
const open = (path: string): InputFile => InputFile.open(path, shownName(path), { follow: true });

const NEWLINE = 0x0a;
const SPACE = 0x20;
/** Bytes of a secret: of TLS 1.3's shortest hash up to SHA-512. */
const secretSizes = { min: 32, max: 64 };

/**
 * Reads the NSS key log format: lines of `LABEL client-random secret`, the last two in hex. Lines of another form, comments and
 * a last line that is still being written are passed over.
 */
export function digestsIn(bytes: Uint8Array): Digests {
  const found = new Map<string, Map<string, string>>();
  const decoder = new TextDecoder("latin1");
  for (let start = 0, end = 0; ; start = end + 1) {
    end = bytes.indexOf(NEWLINE, start);
    if (end < 0) return found;
    const line = bytes.subarray(start, end);
    const space = line.lastIndexOf(SPACE);
    const named = /^([A-Z_0-9]{1,40}) ([0-9a-f]{64})$/i.exec(
      decoder.decode(line.subarray(0, Math.min(space, 120))),
    );
    const digest = digestOfHex(line.subarray(space + 1));
    if (named === null || digest === null) continue;
    const [, label = "", random = ""] = named;
    const key = random.toLowerCase();
    const labels = found.get(key) ?? new Map<string, string>();
    found.set(key, labels.set(label, digest));
  }
}

/** The digest of a secret that stands in hex, perhaps with a carriage return behind; null where it is none. */
function digestOfHex(text: Uint8Array): string | null {
  const length = text.at(-1) === 0x0d ? text.length - 1 : text.length;
  const secret = new Uint8Array(length >> 1);
  if (length % 2 !== 0 || secret.length < secretSizes.min || secret.length > secretSizes.max) return null;
  try {
    for (let at = 0; at < secret.length; at++) {
      const byte = 16 * nibble(text[2 * at]) + nibble(text[2 * at + 1]);
      if (Number.isNaN(byte)) return null;
      secret[at] = byte;
    }
    return secretDigest(secret);
  } finally {
    secret.fill(0);
  }
}

/** The value of a hex digit; NaN for what is none. */
function nibble(digit = 0): number {
  if (digit >= 0x30 && digit <= 0x39) return digit - 0x30;
  const small = digit | 0x20;
  return small >= 0x61 && small <= 0x66 ? small - 0x61 + 10 : Number.NaN;
}
