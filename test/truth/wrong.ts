/** A number that was told of a TLS library. `truth` is null where the library has no such member. */
export interface WrongNumber {
  readonly constant: string;
  readonly value: number;
  readonly truth: number | null;
}

/** The part of a document that tells numbers; what `bytecode` wrote into an object is one of `tls` likewise. */
interface Told {
  readonly tls?: readonly { readonly constants: Readonly<Record<string, number | null>> }[] | undefined;
}

/**
 * Every number of a document that is not the truth, whatever its status.
 *
 * @param truth bytes by `type.member`; the constant's name is made of it, as the published ones are
 */
export function wrongNumbers({ tls = [] }: Told, truth: Readonly<Record<string, number>>): WrongNumber[] {
  const true_ = new Map(
    Object.entries(truth).map(([member, offset]) => [member.toUpperCase().replace(/[.:]/g, "_"), offset]),
  );
  return tls.flatMap(({ constants }) =>
    Object.entries(constants).flatMap(([constant, value]) => {
      const offset = true_.get(constant) ?? null;
      return value === null || value === offset ? [] : [{ constant, value, truth: offset }];
    }),
  );
}
