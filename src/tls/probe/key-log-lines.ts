/** Secrets of one connection by their label, e.g. `EXPORTER_SECRET`. */
export type KeyLogSecrets = ReadonlyMap<string, Uint8Array>;

/** Collects lines of the NSS key log format: `LABEL client-random secret`, the last two in hex. */
export function secretsIn(lines: readonly string[]): KeyLogSecrets {
  return new Map(
    lines.flatMap((line) => {
      const [label, random, secret] = line.split(" ");
      return label === undefined || random === undefined || secret === undefined
        ? []
        : [[label, new Uint8Array(Buffer.from(secret, "hex"))]];
    }),
  );
}
