import type { Answer } from "../host/answer.ts";
import { no, unknown, yes } from "../host/answer.ts";
import { type Source, unchosen } from "../offsets/evidence.ts";
import type { KernelPlan } from "../output/detect-schema.ts";
import type { Strategy } from "../output/document.ts";
import type { Rung, WatchedStruct } from "./fields/ladder.ts";
import { answerOf, type KernelHost, TYPED_BYTECODE, ways } from "./kernel.ts";
import type { Symbols } from "./running/kallsyms.ts";
import { type Bytecode, objectsOf } from "./running/variants.ts";

export interface PlanOptions {
  readonly host: KernelHost;
  readonly sources: readonly Source[];
  readonly strategy: Strategy;
  readonly bytecode: Bytecode;
  readonly symbols: Symbols;
  /** Why nothing can be learned of connection tracking; null where it can. */
  readonly withoutConntrack: string | null;
}

/** What a guess would do on this host, from what can be seen of it: nothing is loaded or attached to find out. */
export function kernelPlan(options: PlanOptions): KernelPlan {
  const { host, sources, strategy, bytecode } = options;
  const { ladder, program } = ways[strategy];
  const structs = [...new Set(ladder.map(({ struct }) => struct))];
  const chosen = structs.map((struct) => [struct, rungOf(struct, ladder, options)] as const);
  const sock =
    chosen.find(([struct]) => struct === "sock")?.[1].answer ?? no("no rung is known for struct sock");
  const guess = sources.includes("guess") ? sock : no(unchosen);
  const btf = sources.includes("btf") ? host.btf : no(unchosen);
  const isTyped = guess.is === "no" && sources.includes("guess") && btf.is === "yes" && host.bpf.is !== "no";
  const [object = null] = objectsOf(program, bytecode, host.kernel.version);
  return {
    sources: { guess: told(guess), btf: told(btf) },
    strategy: guess.is === "no" ? null : strategy,
    bytecode: guess.is !== "no" ? object : isTyped ? TYPED_BYTECODE : null,
    structs:
      guess.is === "no"
        ? {}
        : Object.fromEntries(chosen.map(([struct, { rung, answer }]) => [struct, { rung, ...told(answer) }])),
  };
}

/** The document's notation. */
const told = ({ is, why }: Answer) => ({ would: is === "unknown" ? null : is === "yes", reason: why });

/** The first rung that is not refused, and what is known of it. */
function rungOf(
  struct: WatchedStruct,
  ladder: readonly Rung[],
  options: PlanOptions,
): { rung: string | null; answer: Answer } {
  const judged = ladder
    .filter((rung) => rung.struct === struct)
    .map((rung) => ({ rung, name: `${rung.kind}:${rung.target}`, answer: judge(rung, options) }));
  const refusals = grouped(judged.filter(({ answer }) => answer.is === "no"));
  const first = judged.find(({ answer }) => answer.is !== "no");
  if (first === undefined) {
    const isReached = ladder.some((rung) => rung.struct === struct && rung.late);
    if (isReached) return { rung: null, answer: yes("reached by the pointers of struct sock") };
    return { rung: null, answer: no(refusals) };
  }
  const { rung, name, answer } = first;
  const late = rung.late ? ["only where the pointers of struct sock do not lead to it"] : [];
  const reasons = [...late, answer.why, ...(judged[0] === first ? [] : [refusals])].join("; ");
  return { rung: name, answer: { ...answer, why: reasons } };
}

/** Refusals by reason, the rungs before it. */
function grouped(refused: readonly { name: string; answer: Answer }[]): string {
  const byReason = Map.groupBy(refused, ({ answer }) => answer.why);
  return [...byReason].map(([why, rows]) => `${rows.map(({ name }) => name).join(", ")}: ${why}`).join("; ");
}

/** Whether a rung would hold. */
function judge(rung: Rung, { host, symbols, withoutConntrack }: PlanOptions): Answer {
  const offered = answerOf(rung.kind, host);
  if (offered.is === "no") return offered;
  if (rung.struct === "nf_conn" && withoutConntrack !== null) return no(withoutConntrack);
  const isThere =
    rung.kind === "kprobe" ? symbols.hasFunction(rung.target) : symbols.hasTracepoint(rung.target);
  const what = rung.kind === "kprobe" ? "function" : "tracepoint";
  if (isThere === false) return no(`this kernel has no such ${what}`);
  if (isThere === null) return unknown(`/proc/kallsyms does not tell whether there is such a ${what}`);
  return offered.is === "unknown" ? offered : yes(`the kernel has this ${what}`);
}
