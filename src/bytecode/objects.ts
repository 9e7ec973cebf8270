import { assetBytes } from "../self/assets.ts";
import { EbpfObject } from "./object.ts";

/** An embedded object by its name, without `.o`. @throws when it was not built for this target */
export const embeddedObject = (name: string): EbpfObject =>
  new EbpfObject(assetBytes(`${name}.o`), `${name}.o`);

/**
 * An embedded object with values for its constants, ready to load. All others of them get the absent value: an object
 * for old kernels could not be opened without.
 */
export function bakeEmbedded(name: string, values: ReadonlyMap<string, bigint | null>): Uint8Array {
  const object = embeddedObject(name);
  const absent = object.constants.map((constant) => [constant.name, null] as const);
  return object.bake(new Map([...absent, ...values]));
}
