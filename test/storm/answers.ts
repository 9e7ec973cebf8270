import * as v from "valibot";
import { documentSchema } from "../../src/output/document.ts";

/** How often runs gave the same constants, and the first document that has them, or what was said in place of one. */
export interface Kind {
  readonly count: number;
  readonly text: string;
}

/** Before each kind in a guest's answer. */
const SEPARATOR = "\x1e";

/** How a guest prints kinds. */
export const printed = (kinds: readonly Kind[]): string =>
  kinds.map(({ count, text }) => `${SEPARATOR}${count}\n${text}\n`).join("");

/**
 * A shell script that runs a command over and over, and prints the kinds of its answers. A guest tells them apart itself,
 * as its serial line is slower than a run.
 */
export const over = (times: number, command: string): string => `
folder=$(mktemp -d); cd $folder; n=0
while [ $n -lt ${times} ]; do
  ${command} >.run 2>.run.err; [ -s .run ] || cp .run.err .run
  kind=$(sed -n '/"constants"/,/}/p' .run | md5sum | cut -c 1-32)
  [ -e $kind ] || cp .run $kind
  echo >>$kind.count; n=$((n + 1))
done
for kind in *.count; do printf '\\036%s\\n' $(wc -l <$kind); cat \${kind%.count}; done
cd /; rm -r $folder
`;

export type Constants = Readonly<Record<string, number | null>>;

/** A kind with the constants of its document; without a document none. */
export interface Answer extends Kind {
  readonly constants?: Constants;
}

/** Reads kinds as a guest printed them. Throws when it printed anything else. */
export function answersOf(text: string): Answer[] {
  const [before, ...kinds] = text.split(SEPARATOR);
  if (before !== "" || kinds.length === 0) throw new Error(`no answers: ${text}`);
  return kinds.map((kind): Answer => {
    const [first = "", ...lines] = kind.split("\n");
    const said = { count: Number(first), text: lines.join("\n") };
    if (!said.text.startsWith("{")) return said;
    const { kernel } = v.parse(documentSchema, JSON.parse(said.text));
    return kernel === undefined ? said : { ...said, constants: kernel.constants };
  });
}

/** The constants that every one of the answers has. */
export const knownIn = (answers: readonly Answer[]): string[] =>
  Object.keys(answers[0]?.constants ?? {}).filter((constant) =>
    answers.every(({ constants }) => (constants?.[constant] ?? null) !== null),
  );

/** Numbers that are not the truth, and constants without a number although they should have one. */
export interface Verdict {
  readonly wrong: readonly string[];
  readonly nulls: readonly string[];
  /** There are no constants. */
  readonly failed: boolean;
}

/** Holds an answer against the truth, and against the constants that it should know. */
export function verdictOf({ constants }: Answer, truth: Constants, known: readonly string[]): Verdict {
  if (constants === undefined) return { wrong: [], nulls: [], failed: true };
  return {
    wrong: Object.keys(constants).filter((constant) => {
      const value = constants[constant] ?? null;
      return value !== null && value !== truth[constant];
    }),
    nulls: known.filter((constant) => (constants[constant] ?? null) === null),
    failed: false,
  };
}
