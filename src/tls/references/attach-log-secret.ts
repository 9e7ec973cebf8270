import type { AttachRecipe } from "./attach-recipe.ts";
import { keyLogLabels } from "./labels.ts";
import type { Subject } from "./subject.ts";

/** Labels that OpenSSL logs besides. */
const ownLabels = ["EARLY_EXPORTER_SECRET"] as const;
const isLabel: ReadonlySet<string> = new Set([...keyLogLabels, ...ownLabels]);
/** Bytes behind an instruction that names a label in which it is handed on. */
const near = 96;
/** What writes the key log is called with so many different labels at least, and nothing else is. */
const enough = 3;

interface Log {
  readonly entry: number;
  readonly labels: ReadonlySet<string>;
}

/**
 * What gets several labels of the key log writes it, or hands them to who does.
 *
 * @param name what the library calls it @param otherwise how it is found where it does not get them directly
 */
export const logAttach = (
  name: string,
  otherwise: (subject: Subject) => Log | null = () => null,
): AttachRecipe => ({
  functions: [name],
  names: {
    texts: [...isLabel, "c hs traffic", "s hs traffic"],
    files: [],
    needles: ["CLIENT_RANDOM", "TRAFFIC_SECRET", "EXPORTER_SECRET", " traffic"],
  },
  read: (subject, found) => {
    const { entry, labels } = direct(subject) ?? otherwise(subject) ?? { entry: 0, labels: [] };
    for (const label of labels) found.say(name, entry, `called with ${label}`);
  },
});

/** The function that is called right behind where a label becomes the second argument: seen without following whole functions. */
function direct(subject: Subject): Log | null {
  const called = new Map<number, Set<string>>();
  for (const { at, target } of subject.references) {
    const label = subject.names.get(target) ?? "";
    const entry = isLabel.has(label) ? calledBehind(subject, at) : null;
    if (entry !== null) called.set(entry, (called.get(entry) ?? new Set()).add(label));
  }
  const [only, ...others] = [...called].filter(([, labels]) => labels.size >= enough);
  return only === undefined || others.length > 0 ? null : { entry: only[0], labels: only[1] };
}

/** The next call, where nothing branches before it and the second argument is set on the way. */
function calledBehind({ functions, machine }: Subject, at: number): number | null {
  let isSet = false;
  for (const instruction of functions.from(at, near)) {
    for (const step of machine.lift(instruction) ?? []) {
      if (step.do === "call") return isSet ? step.target : null;
      if (step.do === "jump" || step.do === "return" || step.do === "trap") return null;
      if ("to" in step && "name" in step.to && step.to.name === machine.arguments[1]) isSet = true;
    }
  }
  return null;
}
