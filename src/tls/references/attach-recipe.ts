import type { SoughtNames, Subject } from "./subject.ts";
import type { Witnesses } from "./witnesses.ts";

/** How some of the functions are found that programs attach to. */
export interface AttachRecipe {
  readonly functions: readonly string[];
  readonly names: SoughtNames;
  readonly read: (subject: Subject, found: Witnesses) => void;
}
