/** Secrets of one connection by their label, e.g. `EXPORTER_SECRET`. */
export type Keylog = ReadonlyMap<string, Uint8Array>;

/** Collects lines of the NSS key log format: `LABEL client-random secret`, the last two in hex. */
export function keylogOf(lines: readonly string[]): Keylog {
  return new Map(
    lines.flatMap((line) => {
      const [label, random, secret] = line.split(" ");
      return label === undefined || random === undefined || secret === undefined
        ? []
        : [[label, new Uint8Array(Buffer.from(secret, "hex"))]];
    }),
  );
}

/**
 * Reads a key log that a program wrote: the client's random in hex to its secrets. Lines of another form, comments and a last
 * line that is still being written are passed over.
 */
export function parseKeylog(text: string): ReadonlyMap<string, Keylog> {
  const lines = text.matchAll(/^([A-Z_0-9]{1,40}) ([0-9a-f]{64}) ((?:[0-9a-f]{2}){16,64})\r?\n/gim);
  const byRandom = Map.groupBy(lines, ([, , random = ""]) => random.toLowerCase());
  return new Map(
    [...byRandom].map(([random, found]) => [random, keylogOf(found.map(([line]) => line.trim()))]),
  );
}
