import { ClosedError, SystemError } from "../../ffi/error.ts";
import { Libbpf } from "../../ffi/libbpf.ts";
import type { Evidence, Source } from "../offsets/evidence.ts";
import { reconcile } from "../offsets/reconcile.ts";
import type { Diagnostic, KernelReport, Strategy } from "../output/document.ts";
import { btfEvidence } from "./btf.ts";
import { kernelFields } from "./fields.ts";
import { type Guess, guess } from "./guess.ts";
import { stepwiseLadder } from "./prober.ts";
import { type Rung, sockLadder } from "./recorder.ts";
import { type StepwiseGuess, stepwise } from "./stepwise.ts";

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
  readonly strategy?: Strategy;
  /** stepwise: how far it searches in sock_common and net, in bytes; at most MOST_THRESHOLD. */
  readonly threshold?: number;
  /** stepwise: how often an attempt that failed is repeated. */
  readonly retries?: number;
  /** The bytes of an embedded file, by its name. */
  readonly asset: (name: string) => Uint8Array;
  /** Receives what libbpf says of its work; without it libbpf says nothing. */
  readonly trace?: (message: string) => void;
}

/** A way to guess: its eBPF object, where that can be attached, and what asks it. */
interface Way {
  readonly bytecode: string;
  readonly ladder: readonly Rung[];
  readonly guess: (
    libbpf: Libbpf,
    bytecode: Uint8Array,
    rung: Rung,
    options: { mmapable: boolean; threshold: number; retries: number },
  ) => Guess | StepwiseGuess;
}

const ways: Readonly<Record<Strategy, Way>> = {
  snapshot: {
    bytecode: "socket_guess",
    ladder: sockLadder,
    guess: (libbpf, bytecode, rung, { mmapable }) => guess(libbpf, bytecode, rung, mmapable),
  },
  stepwise: { bytecode: "socket_stepwise", ladder: stepwiseLadder, guess: stepwise },
};

/** BPF_F_MMAPABLE came with this kernel. */
const MMAPABLE_SINCE = [5, 5] as const;

/** Asks every source for the running kernel's constants and joins what they say. */
export function kernelReport({
  host,
  strategy = "snapshot",
  threshold = 400,
  retries = 2,
  asset,
  trace,
}: KernelOptions): {
  report: KernelReport;
  diagnostics: Diagnostic[];
} {
  const diagnostics: Diagnostic[] = [];
  const note = (code: string) => (message: string) => void diagnostics.push({ code, message });
  const started = performance.now();
  const libbpf = new Libbpf(asset("libbpf.so"), trace);
  const btf = readBtf(libbpf, host, note("W_NO_BTF"));
  const way = ways[strategy];
  const bytecode = asset(`${way.bytecode}.o`);
  const climbed = climb(
    (rung, mmapable) => way.guess(libbpf, bytecode, rung, { mmapable, threshold, retries }),
    way.ladder,
    host,
    note("W_RUNG"),
    note("E_NO_GUESS"),
  );
  for (const limit of climbed.guess?.limits ?? []) note("W_GUESS_LIMITED")(limit);

  const evidence = new Map<string, Evidence[]>();
  for (const one of [...climbed.evidence, ...btf]) {
    evidence.set(one.constant, [...(evidence.get(one.constant) ?? []), one]);
  }
  const fields: KernelReport["fields"] = {};
  const constants: KernelReport["constants"] = {};
  for (const field of kernelFields) {
    const { evidence: shown, ...verdict } = reconcile(field, evidence.get(field.constant) ?? []);
    const candidates = Object.entries(shown).map(([source, offsets]) => [source, [...offsets]]);
    fields[field.constant] = { ...verdict, evidence: Object.fromEntries(candidates) };
    constants[field.constant] = verdict.value;
  }
  const report: KernelReport = {
    bytecode: climbed.guess === null ? null : way.bytecode,
    strategy: climbed.guess === null ? null : strategy,
    attached: climbed.guess?.attached ?? [],
    events: climbed.guess?.events ?? 0,
    ...(climbed.guess !== null && "attempts" in climbed.guess && { attempts: climbed.guess.attempts }),
    duration_ms: Math.round((performance.now() - started) * 10) / 10,
    constants,
    fields,
  };
  return { report, diagnostics };
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

/** Goes down the ladder until a rung holds; `refuse` hears why none did. */
function climb(
  ask: (rung: Rung, mmapable: boolean) => Guess | StepwiseGuess,
  ladder: readonly Rung[],
  host: KernelHost,
  note: (message: string) => void,
  refuse: (reason: string) => void,
): { guess: Guess | StepwiseGuess | null; evidence: Evidence[] } {
  const [major, minor] = host.kernel.version;
  const mmapable = major > MMAPABLE_SINCE[0] || (major === MMAPABLE_SINCE[0] && minor >= MMAPABLE_SINCE[1]);
  const refusals: string[] = [];
  for (const rung of ladder) {
    const offered = offer(rung, host);
    if (offered.is === "no") {
      refusals.push(`${rung.kind}: ${offered.why}`);
      continue;
    }
    try {
      const found = ask(rung, mmapable);
      return { guess: found, evidence: found.evidence };
    } catch (error) {
      const reason = `${rung.kind}:${rung.target}: ${reasonOf(error)}`;
      refusals.push(reason);
      note(reason);
    }
  }
  const reason = refusals.join("; ");
  refuse(reason);
  return { guess: null, evidence: silent("guess", reason) };
}

/** Whether the host has what a rung of this kind needs. */
function offer({ kind }: Rung, host: KernelHost): Answer {
  switch (kind) {
    case "kprobe":
      return host.kprobes;
    case "raw_tp":
      return host.rawTracepoints;
  }
}

/** What the system refused, in words; anything else is a defect of ours and goes on up. */
function reasonOf(error: unknown): string {
  if (error instanceof SystemError) return error.message;
  if (error instanceof Error && !(error instanceof ClosedError || error instanceof TypeError))
    return error.message;
  throw error;
}
