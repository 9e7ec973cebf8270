import type { Answer } from "../host/answer.ts";
import { isAtLeast } from "../host/identity.ts";
import { during } from "../self/whereabouts.ts";
import type { Asked } from "./asked.ts";
import { crawl } from "./crawl/crawl.ts";
import type { RungKind } from "./crawl/reader.ts";
import { answerOf, type CrawlReport, type KernelHost, type KernelOptions, refusalOf } from "./kernel.ts";
import { wideMembers } from "./members/all.ts";
import { isUnknownToKernel, objectsOf } from "./running/variants.ts";

/** A crawl, where it can say anything of what is asked for. */
export function crawlFor(asked: readonly Asked[]): KernelOptions["crawl"] {
  return asked.some(({ text }) => wideMembers.some(({ member }) => member === text)) ? report : undefined;
}

const report: NonNullable<KernelOptions["crawl"]> = (libbpf, options): CrawlReport => {
  using _ = during("the kernel's crawl");
  const { host, asset, bytecode } = options;
  const offers = (kind: RungKind): string | null => {
    const answer = answerTo(kind, host);
    return answer.is === "no" ? answer.why : null;
  };
  const objects = objectsOf("crawl", bytecode, host.kernel.version);
  for (const [index, name] of objects.entries()) {
    try {
      const found = crawl(libbpf(), asset(`${name}.o`), name, host.kernel.version, offers);
      return { ...found, attached: [found.attached] };
    } catch (error) {
      if (index === objects.length - 1 || !isUnknownToKernel(error)) return none(refusalOf(error, host));
    }
  }
  throw new TypeError("no eBPF object of crawl");
};

/**
 * Whether a rung of this kind may be attached to here. A tracepoint needs what a raw one does, but works before Linux 4.17 too; an event
 * of perf needs nothing but that programs may be loaded and read the kernel's memory.
 */
function answerTo(kind: RungKind, host: KernelHost): Answer {
  if (kind === "perf_event") return host.kernelReads;
  if (kind !== "tracepoint") return answerOf(kind, host);
  return isAtLeast(host.kernel.version, 4, 17) ? answerOf("raw_tp", host) : host.kernelReads;
}

/** A crawl that measured nothing, for one reason. */
const none = (reason: string): CrawlReport => ({
  evidence: wideMembers.map(({ member }) => ({ source: "guess", constant: member, candidates: [], reason })),
  limits: [],
  attached: [],
  events: 0,
});
