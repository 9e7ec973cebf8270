/** Facts that are filled in one after the other. */
export type Mutable<Type> = { -readonly [Key in keyof Type]: Type[Key] };

/** Facts without those that are undefined, of which nothing is known. */
export const defined = <Type extends object>(
  facts: Type,
): { [Key in keyof Type]?: Exclude<Type[Key], undefined> } =>
  Object.fromEntries(Object.entries(facts).filter(([, fact]) => fact !== undefined)) as {
    [Key in keyof Type]?: Exclude<Type[Key], undefined>;
  };
