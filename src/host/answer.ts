/** What a probe found out. `unknown`: it could not tell. `why` names what was looked at, for a person. */
export interface Answer {
  readonly is: "yes" | "no" | "unknown";
  readonly why: string;
  /** The one command, capability or setting that would make it a yes, or known; absent where there is none. */
  readonly help?: string;
}

/** The answer yes. @param why what was seen that says so */
export const yes = (why: string): Answer => ({ is: "yes", why });
/** The answer no. @param why what stands in the way @param help the command or privilege that would change it */
export const no = (why: string, help?: string): Answer => ({
  is: "no",
  why,
  ...(help !== undefined && { help }),
});
/** No answer. @param why what could not be looked at @param help as of {@link no} */
export const unknown = (why: string, help?: string): Answer => ({
  is: "unknown",
  why,
  ...(help !== undefined && { help }),
});

/** The document's three states: `null` stands for "could not tell". */
export const triState = (answer: Answer): boolean | null =>
  answer.is === "unknown" ? null : answer.is === "yes";
