import { ClosedError, SystemError } from "../../ffi/error.ts";
import type { Libbpf } from "../../ffi/libbpf.ts";
import type { Answer } from "../host/answer.ts";
import { hasIpv6 } from "../net/ipv6.ts";
import { type Evidence, type Source, unchosen } from "../offsets/evidence.ts";
import { judge, type Verdict } from "../offsets/truth.ts";
import type { KernelReport, Strategy } from "../output/document.ts";
import type { Diagnostic } from "../output/schema-parts.ts";
import { toFields } from "../output/verdicts.ts";
import { during } from "../self/whereabouts.ts";
import type { Asked } from "./asked.ts";
import { kernelFields } from "./fields/fields.ts";
import { ladder, type Offers, type Rung, stepwiseLadder } from "./fields/ladder.ts";
import type { Families, GuessOptions } from "./fields/options.ts";
import { kernelSwitches } from "./fields/switches.ts";
import { btfEvidence, runningTypes, type Types } from "./fields/type-information.ts";
import { type Bytecode, isForbiddenToRead, isUnknownToKernel, objectsOf } from "./running/variants.ts";
import type { Guess } from "./snapshot/guess.ts";

/** What the kernel's report has to know of the host. */
export interface KernelHost {
  readonly kernel: { readonly version: readonly [number, number, number] };
  readonly btf: Answer;
  readonly kprobes: Answer;
  /** Whether this process may load eBPF programs for tracing. */
  readonly bpf: Answer;
  /** Whether these may read the kernel's memory. */
  readonly kernelReads: Answer;
  readonly rawTracepoints: Answer;
}

export interface KernelOptions extends GuessOptions {
  readonly host: KernelHost;
  /** The bytes of an embedded file, by its name. */
  readonly asset: (name: string) => Uint8Array;
  /** Receives what libbpf says of its work; without it libbpf says nothing. */
  readonly trace?: (message: string) => void;
  /** The sources that may speak; no other is asked. */
  readonly sources: readonly Source[];
  readonly strategy: Strategy;
  /** Which eBPF objects may be loaded. */
  readonly bytecode: Bytecode;
  /** What else is asked for, besides the constants of ours. */
  readonly asked?: readonly Asked[];
  /** Measures what of that the guess does not reach, where BTF is silent. */
  readonly crawl?: (libbpf: () => Libbpf, options: KernelOptions) => CrawlReport;
  /** Whether it does wherever it can. */
  readonly isAll?: boolean;
  /** Whether only that is asked for: what cannot be measured of it needs no guess. */
  readonly isOnlyAsked?: boolean;
}

/** What a crawl found, and how. */
export interface CrawlReport {
  /** Under the members' names. */
  readonly evidence: readonly Evidence[];
  readonly limits: readonly string[];
  readonly attached: readonly string[];
  readonly events: number;
}

/** A way to guess: its eBPF program, and what asks it. */
interface Way {
  readonly program: string;
  readonly ladder: readonly Rung[];
  /** Loaded where something is guessed. */
  readonly load: () => Promise<Guesser>;
}

type Guesser = (libbpf: Libbpf, bytecode: Uint8Array, offers: Offers, options: GuessOptions) => Guess;

export const ways: Readonly<Record<Strategy, Way>> = {
  snapshot: {
    program: "socket_guess",
    ladder,
    load: async () => (await import("./snapshot/guess.ts")).guess,
  },
  stepwise: {
    program: "socket_stepwise",
    ladder: stepwiseLadder,
    load: async () => (await import("./stepwise/stepwise.ts")).stepwise,
  },
};

/** The eBPF object of typed reads, which confirm what BTF tells where nothing can be guessed. */
export const TYPED_BYTECODE = "socket_typed";

/** Asks every source for the running kernel's constants and joins what they say. */
export async function kernelReport(
  options: KernelOptions,
): Promise<{ report: KernelReport; diagnostics: Diagnostic[] }> {
  const { host, strategy, asked = [], isOnlyAsked = false } = options;
  const members = asked.length === 0 ? null : await import("./asked.ts");
  const isGuessNeeded = !isOnlyAsked || members?.isMeasured(asked) === true;
  const sources = isGuessNeeded ? options.sources : options.sources.filter((source) => source !== "guess");
  const diagnostics: Diagnostic[] = [];
  const note = (code: string) => (message: string) => void diagnostics.push({ code, message });
  const started = performance.now();
  const libbpf = options.sources.includes("guess") ? await libbpfOf(options) : refuse;
  const types = sources.includes("btf") ? readTypes(host, note("W_NO_BTF")) : unchosen;
  const btf = typeof types === "string" ? silent("btf", types) : btfEvidence(types.kernel);
  const tried = sources.includes("guess")
    ? tryGuess(await guesserOf(libbpf, options, note("W_BYTECODE")), host, note("W_RUNG"), note("E_NO_GUESS"))
    : { guess: null, evidence: silent("guess", unchosen) };
  const reason = tried.guess === null ? tried.evidence[0]?.reason : undefined;
  const isTold = btf.some(({ candidates }) => candidates.length > 0);
  const typed =
    reason !== undefined && reason !== unchosen && isTold && host.bpf.is !== "no"
      ? await tryTyped(libbpf, options, reason, note("W_RUNG"))
      : null;
  const measured = tried.guess ?? typed;
  for (const limit of measured?.limits ?? []) note("W_GUESS_LIMITED")(limit);

  const isCrawled =
    options.sources.includes("guess") && (options.isAll === true || typeof types === "string");
  const crawled = isCrawled ? options.crawl?.(libbpf, options) : null;
  for (const limit of crawled?.limits ?? []) note("W_GUESS_LIMITED")(limit);

  const evidence = [...(measured?.evidence ?? tried.evidence), ...btf];
  const verdicts = [
    ...(isOnlyAsked ? [] : verdictsOn(evidence, possibleHere(options.families))),
    ...(members?.askedVerdicts(asked, types, [...evidence, ...(crawled?.evidence ?? [])]) ?? []),
  ];
  const report: KernelReport = {
    bytecode: tried.guess?.bytecode ?? (typed === null ? null : TYPED_BYTECODE),
    strategy: tried.guess === null ? null : strategy,
    attached: [...(measured?.attached ?? []), ...(crawled?.attached ?? [])],
    events: (measured?.events ?? 0) + (crawled?.events ?? 0),
    ...(measured !== null && { attempts: measured.attempts }),
    duration_ms: Math.round((performance.now() - started) * 10) / 10,
    ...toFields(verdicts),
  };
  return { report, diagnostics };
}

/** libbpf, opened when it is first used. */
async function libbpfOf({ asset, trace }: KernelOptions): Promise<() => Libbpf> {
  const { Libbpf } = await import("../../ffi/libbpf.ts");
  let opened: Libbpf | undefined;
  return () => {
    opened ??= new Libbpf(asset("libbpf.so"), trace);
    return opened;
  };
}

function refuse(): never {
  throw new TypeError("libbpf is for guesses");
}

/** A guess, and the name of the eBPF object that it used. */
type ObjectGuess = Guess & { readonly bytecode: string };

/**
 * The guess of the strategy that was asked for, on the rungs that it is offered, with the first object that the kernel
 * understands. `note` hears of those that it does not.
 */
async function guesserOf(
  libbpf: () => Libbpf,
  options: KernelOptions,
  note: (message: string) => void,
): Promise<(offers: Offers) => ObjectGuess> {
  const { program, load } = ways[options.strategy];
  const guess = await load();
  const objects = objectsOf(program, options.bytecode, options.host.kernel.version);
  return (offers) => {
    for (const [index, bytecode] of objects.entries()) {
      try {
        return { ...guess(libbpf(), options.asset(`${bytecode}.o`), offers, options), bytecode };
      } catch (error) {
        if (index === objects.length - 1 || !isUnknownToKernel(error)) throw error;
        note(`${bytecode} is not used: ${reasonOf(error)}`);
      }
    }
    throw new TypeError(`no eBPF object of ${program}`);
  };
}

/** The kinds of sockets among these that can be made on this host. */
const possibleHere = (families: Families): Families => {
  const isThere = hasIpv6();
  return { ...families, tcpv6: families.tcpv6 && isThere, udpv6: families.udpv6 && isThere };
};

/** The verdicts on all constants, in the order they are published in. */
export function verdictsOn(evidence: readonly Evidence[], families: Families): [constant: string, Verdict][] {
  const offsets = judge(kernelFields, evidence);
  return [...offsets].flatMap(([constant, verdict]) => {
    const flags = kernelSwitches.filter(({ after }) => after === constant);
    return [
      [constant, verdict],
      ...flags.map((flag) => [flag.constant, flag.verdict(offsets, families)]),
    ] as [string, Verdict][];
  });
}

/** Evidence of a source that could not be asked at all. */
const silent = (source: Source, reason: string): Evidence[] =>
  kernelFields.map(({ constant }) => ({ source, constant, candidates: [], reason }));

/** The kernel's types; why there are none. */
function readTypes({ btf }: KernelHost, note: (message: string) => void): Types | string {
  using _ = during("the kernel's BTF");
  if (btf.is === "no") return btf.why;
  try {
    return runningTypes();
  } catch (error) {
    const reason = reasonOf(error);
    note(reason);
    return reason;
  }
}

/**
 * Guesses with all kinds of rungs that the host offers; where the kernel refuses them together, with each kind alone.
 * `refuse` hears why nothing could be guessed, `note` why less than all kinds were used.
 */
function tryGuess(
  ask: (offers: Offers) => ObjectGuess,
  host: KernelHost,
  note: (message: string) => void,
  refuse: (reason: string) => void,
): { guess: ObjectGuess | null; evidence: Evidence[] } {
  using _ = during("the kernel's guess");
  const offered = kinds.filter((kind) => answerOf(kind, host).is !== "no");
  const refusals = new Map<Kind, string>(
    kinds.filter((kind) => !offered.includes(kind)).map((kind) => [kind, answerOf(kind, host).why]),
  );
  const attempts = offered.length > 1 ? [offered, ...offered.map((kind) => [kind])] : [offered];
  for (const attempt of attempts.filter(({ length }) => length > 0)) {
    const offers = ({ kind }: Rung) => (attempt.includes(kind) ? null : (refusals.get(kind) ?? "not needed"));
    try {
      const found = ask(offers);
      for (const kind of offered) if (!attempt.includes(kind)) note(`${kind}: ${refusals.get(kind)}`);
      return { guess: found, evidence: found.evidence };
    } catch (error) {
      const reason = refusalOf(error, host);
      for (const kind of attempt) refusals.set(kind, reason);
      if (reason === LOCKED_DOWN) break; // each further attempt would be one more line in the kernel's log
    }
  }
  const reasons = [...new Set(refusals.values())].map((reason) => {
    const refused = kinds.filter((kind) => refusals.get(kind) === reason);
    return refused.length === kinds.length ? reason : `${refused.join(", ")}: ${reason}`;
  });
  const reason = reasons.join("; ");
  refuse(reason);
  return { guess: null, evidence: silent("guess", reason) };
}

/** Where nothing can be guessed: measures what typed reads reach at the offsets that BTF tells. Null where refused. */
async function tryTyped(
  libbpf: () => Libbpf,
  options: KernelOptions,
  otherwise: string,
  note: (message: string) => void,
): Promise<Guess | null> {
  const { typedReads } = await import("./typed.ts");
  try {
    return typedReads(libbpf(), options.asset(`${TYPED_BYTECODE}.o`), options, otherwise);
  } catch (error) {
    note(`tp_btf: ${refusalOf(error, options.host)}`);
    return null;
  }
}

type Kind = Rung["kind"];
const kinds = ["kprobe", "raw_tp"] as const satisfies readonly Kind[];

/** Whether rungs of a kind may be attached here. */
export const answerOf = (kind: Kind, host: KernelHost): Answer =>
  host.bpf.is === "no" ? host.bpf : answers[kind](host);

/** Whether the host has what rungs of a kind need. */
const answers: Record<Kind, (host: KernelHost) => Answer> = {
  kprobe: ({ kprobes }) => kprobes,
  raw_tp: ({ rawTracepoints }) => rawTracepoints,
};

const LOCKED_DOWN = "the kernel forbids reading its memory from eBPF, as lockdown=confidentiality does";

/** Why a guess was refused, and what is known of the host that explains it. */
export function refusalOf(error: unknown, host: KernelHost): string {
  const reason = reasonOf(error);
  if (error instanceof Error && isForbiddenToRead(error)) return LOCKED_DOWN;
  const isOfBpf = error instanceof SystemError && error.call.startsWith("load eBPF object ");
  // What this host is known to lack says more than all that the errno can mean.
  return isOfBpf && error.code === "EPERM" && host.bpf.is !== "yes"
    ? `${error.call}: ${error.code}; ${host.bpf.why}`
    : reason;
}

const defects = [ClosedError, TypeError, RangeError] as const;

/** What the system refused, in words; anything else is a defect of ours and goes on up. */
function reasonOf(error: unknown): string {
  if (error instanceof Error && !defects.some((defect) => error instanceof defect)) return error.message;
  throw error;
}
