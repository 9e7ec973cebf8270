/** What a probe found out. `unknown`: it could not tell. `why` names what was looked at, for a person. */
export interface Answer {
  readonly is: "yes" | "no" | "unknown";
  readonly why: string;
}

export const yes = (why: string): Answer => ({ is: "yes", why });
export const no = (why: string): Answer => ({ is: "no", why });
export const unknown = (why: string): Answer => ({ is: "unknown", why });

/** The document's three states: `null` stands for "could not tell". */
export const triState = (answer: Answer): boolean | null =>
  answer.is === "unknown" ? null : answer.is === "yes";
