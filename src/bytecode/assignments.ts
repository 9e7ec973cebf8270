import { usage } from "../output/failure.ts";

/**
 * Values that a person gives to names of an object: texts NAME=VALUE, the value an unsigned integer, decimal or 0x....
 * @throws Failure of wrong usage that names the text
 */
export function readSettings(texts: readonly string[]): ReadonlyMap<string, bigint> {
  const settings = new Map<string, bigint>();
  for (const text of texts) {
    const [, name, value] = /^([^=]+)=(\d+|0x[\da-f]+)$/i.exec(text) ?? [];
    if (name === undefined || value === undefined)
      throw usage(`--set ${text}: expected NAME=VALUE, the value an unsigned integer, decimal or 0x...`);
    if (settings.has(name)) throw usage(`--set ${name} is given twice`);
    settings.set(name, BigInt(value));
  }
  return settings;
}
