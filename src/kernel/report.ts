import { ClosedError, SystemError } from "../../ffi/error.ts";
import { Libbpf } from "../../ffi/libbpf.ts";
import { type Evidence, type Source, unchosen } from "../offsets/evidence.ts";
import { reconcile } from "../offsets/reconcile.ts";
import type { Diagnostic, KernelReport } from "../output/document.ts";
import { btfEvidence } from "./btf.ts";
import { kernelFields } from "./fields.ts";
import { type Guess, guess, type Stimulation } from "./guess.ts";
import { type Rung, sockLadder } from "./recorder.ts";

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

export interface KernelOptions extends Stimulation {
  readonly host: KernelHost;
  /** The sources that may speak; no other is asked. */
  readonly sources: readonly Source[];
  /** The bytes of an embedded file, by its name. */
  readonly asset: (name: string) => Uint8Array;
  /** Receives what libbpf says of its work; without it libbpf says nothing. */
  readonly trace?: (message: string) => void;
}

const BYTECODE = "socket_guess";
/** BPF_F_MMAPABLE came with this kernel. */
const MMAPABLE_SINCE = [5, 5] as const;

/** Asks every source for the running kernel's constants and joins what they say. */
export function kernelReport(options: KernelOptions): {
  report: KernelReport;
  diagnostics: Diagnostic[];
} {
  const diagnostics: Diagnostic[] = [];
  const note = (code: string) => (message: string) => void diagnostics.push({ code, message });
  const started = performance.now();
  const { sources } = options;
  const libbpf = sources.some(isKernelSource) ? new Libbpf(options.asset("libbpf.so"), options.trace) : null;
  const btf =
    libbpf !== null && sources.includes("btf")
      ? readBtf(libbpf, options.host, note("W_NO_BTF"))
      : silent("btf", unchosen);
  const climbed =
    libbpf !== null && sources.includes("guess")
      ? climb(libbpf, options, note("W_RUNG"), note("E_NO_GUESS"))
      : { guess: null, evidence: silent("guess", unchosen) };
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
    bytecode: climbed.guess === null ? null : BYTECODE,
    strategy: climbed.guess === null ? null : "snapshot",
    attached: climbed.guess?.attached ?? [],
    events: climbed.guess?.events ?? 0,
    duration_ms: Math.round((performance.now() - started) * 10) / 10,
    constants,
    fields,
  };
  return { report, diagnostics };
}

const isKernelSource = (source: Source): boolean => source === "guess" || source === "btf";

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
  libbpf: Libbpf,
  options: KernelOptions,
  note: (message: string) => void,
  refuse: (reason: string) => void,
): { guess: Guess | null; evidence: Evidence[] } {
  const { host, asset } = options;
  const bytecode = asset(`${BYTECODE}.o`);
  const [major, minor] = host.kernel.version;
  const mmapable = major > MMAPABLE_SINCE[0] || (major === MMAPABLE_SINCE[0] && minor >= MMAPABLE_SINCE[1]);
  const refusals: string[] = [];
  for (const rung of sockLadder) {
    const offered = offer(rung, host);
    if (offered.is === "no") {
      refusals.push(`${rung.kind}: ${offered.why}`);
      continue;
    }
    try {
      const found = guess(libbpf, bytecode, rung, mmapable, options);
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
