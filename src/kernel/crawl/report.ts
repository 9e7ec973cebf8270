import { during } from "../../whereabouts.ts";
import { type Asked, askedOf } from "../asked.ts";
import { isUnknownToKernel, objectsOf } from "../bytecode.ts";
import { wideMembers } from "../members/all.ts";
import { type CrawlReport, type KernelOptions, refusalOf } from "../report.ts";
import { crawl } from "./crawl.ts";

/** All that a crawl can say anything of. */
export const allWide = (): Asked[] => wideMembers.flatMap(({ member }) => askedOf(member) ?? []);

/** A crawl, where it can say anything of what is asked for. */
export function crawlFor(asked: readonly Asked[]): KernelOptions["crawl"] {
  return asked.some(({ text }) => wideMembers.some(({ member }) => member === text)) ? report : undefined;
}

const report: NonNullable<KernelOptions["crawl"]> = (libbpf, options): CrawlReport => {
  using _ = during("the kernel's crawl");
  const { host, asset, bytecode } = options;
  if (host.bpf.is === "no") return none(host.bpf.why);
  const objects = objectsOf("crawl", bytecode, host.kernel.version);
  for (const [index, name] of objects.entries()) {
    try {
      const found = crawl(libbpf(), asset(`${name}.o`), name, host.kernel.version);
      return { ...found, attached: [found.attached] };
    } catch (error) {
      if (index === objects.length - 1 || !isUnknownToKernel(error)) return none(refusalOf(error, host));
    }
  }
  throw new TypeError("no eBPF object of crawl");
};

/** Nothing of it can be measured. */
const none = (reason: string): CrawlReport => ({
  evidence: wideMembers.map(({ member }) => ({ source: "guess", constant: member, candidates: [], reason })),
  limits: [],
  attached: [],
  events: 0,
});
