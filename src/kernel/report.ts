import { ClosedError, SystemError } from "../../ffi/error.ts";
import { Libbpf } from "../../ffi/libbpf.ts";
import type { Evidence, Source } from "../offsets/evidence.ts";
import { reconcile, type Verdict } from "../offsets/reconcile.ts";
import type { Diagnostic, KernelReport, Strategy } from "../output/document.ts";
import { btfEvidence } from "./btf.ts";
import { kernelFields } from "./fields.ts";
import { type Asked, kernelFlags } from "./flags.ts";
import { type Guess, guess } from "./guess.ts";
import type { Offers, Rung } from "./ladder.ts";
import { stepwise } from "./stepwise.ts";

/** A yes, a no, or a could-not-tell, with what it rests on. */
interface Answer {
  readonly is: "yes" | "no" | "unknown";
  readonly why: string;
}

/** What the kernel's report has to know of the host. */
export interface KernelHost {
  readonly kernel: { readonly version: readonly [number, number, number] };
  readonly btf: Answer;
  readonly kprobes: Answer;
  readonly rawTracepoints: Answer;
}

export interface KernelOptions {
  readonly host: KernelHost;
  /** The bytes of an embedded file, by its name. */
  readonly asset: (name: string) => Uint8Array;
  /** Receives what libbpf says of its work; without it libbpf says nothing. */
  readonly trace?: (message: string) => void;
  readonly asked?: Asked;
  readonly strategy?: Strategy;
  /** For the stepwise strategy: candidates of sock_common lie below so many bytes. */
  readonly threshold?: number;
  /** For the stepwise strategy: how often a failed attempt is repeated from the beginning. */
  readonly retries?: number;
}

/** A way to guess: its eBPF object, and what asks it. */
interface Way {
  readonly bytecode: string;
  readonly guess: (libbpf: Libbpf, bytecode: Uint8Array, offers: Offers, options: WayOptions) => Guess;
}

interface WayOptions {
  /** Whether the kernel has BPF_F_MMAPABLE (5.5 and newer). */
  readonly mmapable: boolean;
  readonly threshold: number;
  readonly retries: number;
}

const ways: Readonly<Record<Strategy, Way>> = {
  snapshot: { bytecode: "socket_guess", guess },
  stepwise: { bytecode: "socket_stepwise", guess: stepwise },
};

/** BPF_F_MMAPABLE came with this kernel. */
const MMAPABLE_SINCE = [5, 5] as const;

/** Asks every source for the running kernel's constants and joins what they say. */
export function kernelReport({
  host,
  asset,
  trace,
  asked = { tcpV6: true, udpV6: true },
  strategy = "snapshot",
  threshold = 400,
  retries = 2,
}: KernelOptions): { report: KernelReport; diagnostics: Diagnostic[] } {
  const diagnostics: Diagnostic[] = [];
  const note = (code: string) => (message: string) => void diagnostics.push({ code, message });
  const started = performance.now();
  const libbpf = new Libbpf(asset("libbpf.so"), trace);
  const btf = readBtf(libbpf, host, note("W_NO_BTF"));
  const way = ways[strategy];
  const bytecode = asset(`${way.bytecode}.o`);
  const [major, minor] = host.kernel.version;
  const mmapable = major > MMAPABLE_SINCE[0] || (major === MMAPABLE_SINCE[0] && minor >= MMAPABLE_SINCE[1]);
  const ask = (offers: Offers) => way.guess(libbpf, bytecode, offers, { mmapable, threshold, retries });
  const tried = tryGuess(ask, host, note("W_RUNG"), note("E_NO_GUESS"));
  for (const limit of tried.guess?.limits ?? []) note("W_GUESS_LIMITED")(limit);

  const verdicts = judge([...tried.evidence, ...btf], asked);
  const report: KernelReport = {
    bytecode: tried.guess === null ? null : way.bytecode,
    strategy: tried.guess === null ? null : strategy,
    attached: tried.guess?.attached ?? [],
    events: tried.guess?.events ?? 0,
    ...(tried.guess !== null && { attempts: tried.guess.attempts }),
    duration_ms: Math.round((performance.now() - started) * 10) / 10,
    constants: Object.fromEntries(verdicts.map(([constant, { value }]) => [constant, value])),
    fields: Object.fromEntries(verdicts.map(([constant, verdict]) => [constant, shown(verdict)])),
  };
  return { report, diagnostics };
}

/** The verdicts on all constants, in the order they are published in. */
function judge(evidence: readonly Evidence[], asked: Asked): [constant: string, Verdict][] {
  const of = (constant: string) => evidence.filter((each) => each.constant === constant);
  const offsets = new Map(
    kernelFields.map((field) => [field.constant as string, reconcile(field, of(field.constant))]),
  );
  return [...offsets].flatMap(([constant, verdict]) => {
    const flags = kernelFlags.filter(({ after }) => after === constant);
    return [[constant, verdict], ...flags.map((flag) => [flag.constant, flag.verdict(offsets, asked)])] as [
      string,
      Verdict,
    ][];
  });
}

/** A verdict as the document has it. */
function shown({ evidence, ...verdict }: Verdict): KernelReport["fields"][string] {
  const candidates = Object.entries(evidence).map(([source, offsets]) => [source, [...offsets]]);
  return { ...verdict, evidence: Object.fromEntries(candidates) };
}

/** Evidence of a source that could not be asked at all. */
const silent = (source: Source, reason: string): Evidence[] =>
  kernelFields.map(({ constant }) => ({ source, constant, candidates: [], reason }));

function readBtf(libbpf: Libbpf, { btf }: KernelHost, note: (message: string) => void): Evidence[] {
  if (btf.is === "no") return silent("btf", btf.why);
  try {
    return btfEvidence(libbpf);
  } catch (error) {
    const reason = reasonOf(error);
    note(reason);
    return silent("btf", reason);
  }
}

/**
 * Guesses with all kinds of rungs that the host offers; where the kernel refuses them together, with each kind alone.
 * `refuse` hears why nothing could be guessed.
 */
function tryGuess(
  ask: (offers: Offers) => Guess,
  host: KernelHost,
  note: (message: string) => void,
  refuse: (reason: string) => void,
): { guess: Guess | null; evidence: Evidence[] } {
  const offered = kinds.filter((kind) => offerOf[kind](host).is !== "no");
  const refusals: string[] = kinds
    .filter((kind) => !offered.includes(kind))
    .map((kind) => `${kind}: ${offerOf[kind](host).why}`);
  const attempts = offered.length > 1 ? [offered, ...offered.map((kind) => [kind])] : [offered];
  for (const attempt of attempts.filter(({ length }) => length > 0)) {
    const whyNot = (kind: Rung["kind"]) =>
      offered.includes(kind) ? refusals.at(-1) : offerOf[kind](host).why;
    const offers = ({ kind }: Rung) => (attempt.includes(kind) ? null : (whyNot(kind) ?? "not offered"));
    try {
      const found = ask(offers);
      return { guess: found, evidence: found.evidence };
    } catch (error) {
      const reason = `${attempt.join(" and ")}: ${reasonOf(error)}`;
      refusals.push(reason);
      note(reason);
    }
  }
  const reason = refusals.join("; ");
  refuse(reason);
  return { guess: null, evidence: silent("guess", reason) };
}

/** Whether the host has what rungs of a kind need. */
const offerOf: Record<Rung["kind"], (host: KernelHost) => Answer> = {
  kprobe: ({ kprobes }) => kprobes,
  raw_tp: ({ rawTracepoints }) => rawTracepoints,
};
const kinds = ["kprobe", "raw_tp"] as const satisfies readonly Rung["kind"][];

/** What the system refused, in words; anything else is a defect of ours and goes on up. */
function reasonOf(error: unknown): string {
  if (error instanceof SystemError) return error.message;
  if (error instanceof Error && !(error instanceof ClosedError || error instanceof TypeError))
    return error.message;
  throw error;
}
