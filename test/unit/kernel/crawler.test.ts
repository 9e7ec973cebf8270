import { expect, test } from "bun:test";
import { Libbpf } from "../../../ffi/libbpf.ts";
import { Sleeper, Waiter } from "../../../ffi/process.ts";
import { threadName } from "../../../ffi/thread.ts";
import { Crawler, type RungKind } from "../../../src/kernel/crawl/reader.ts";
import { NamedThread } from "../../../src/kernel/running/named-thread.ts";
import { assetBytes } from "../../../src/self/assets.ts";
import { truthOf } from "../../lab/truth.ts";
import { hang } from "../../until.ts";

const libbpf = new Libbpf(assetBytes("libbpf.so"));
const open = (name: string, kinds: readonly RungKind[] = ["raw_tp", "perf_event"]) =>
  new Crawler(libbpf, assetBytes(`${name}.o`), name, (kind) => (kinds.includes(kind) ? null : "not asked"));

test.each(["crawl", "crawl_old"])(
  "%s: at page faults too it follows pointers of this thread, and meets others",
  async (name) => {
    using crawler = open(name, ["perf_event"]);
    expect(crawler.attached).toBe("perf_event:page-faults");
    const places = await truthOf("/sys/kernel/btf/vmlinux", ["task_struct.comm", "task_struct.tgid"]);
    const at = (member: string): number => places.get(member) ?? Number.NaN;
    const [self] = crawler.follow([{ size: 16384 }]);
    expect(self?.address).toBe(crawler.self.task);
    const comm = self?.bytes.subarray(at("task_struct.comm"), at("task_struct.comm") + 16);
    expect(comm).toEqual(threadName());
    using owned = new DisposableStack();
    const meet = (isChild: boolean, start: () => Disposable) => {
      using named = new NamedThread();
      return crawler.meet(named.name, () => void owned.use(start()), isChild, hang);
    };
    const thread = meet(false, () => new Waiter());
    expect(thread?.tgid).toBe(crawler.self.tgid);
    expect(thread?.tid).not.toBe(crawler.self.tid);
    const child = meet(true, () => new Sleeper(0, 600));
    expect(child?.tgid).not.toBe(crawler.self.tgid);
    const [theirs] = crawler.follow([{ root: child?.task ?? 0n, size: 16384 }]);
    const view = Buffer.from(theirs?.bytes ?? []);
    expect(view.readUInt32LE(at("task_struct.tgid"))).toBe(child?.tgid ?? 0);
  },
);

test("a child is met, though a thread begins before it that bears the same name, as the runtime's do", () => {
  using crawler = open("crawl");
  for (let turn = 0; turn < 5; turn++) {
    using owned = new DisposableStack();
    using named = new NamedThread();
    const pids: number[] = [];
    const start = () => {
      owned.use(new Waiter());
      pids.push(owned.use(new Sleeper(0, 600)).pid);
    };
    const child = crawler.meet(named.name, start, true, hang);
    expect(child?.tid).toBe(child?.tgid ?? 0);
    expect(child?.tgid).not.toBe(crawler.self.tgid);
    expect(pids).toHaveLength(1);
  }
});
