import { readFileSync } from "node:fs";
import { join } from "node:path";
import { executable, repository } from "../e2e/executable.ts";
import { certified } from "../e2e/keylog.ts";
import { loadNode, nodeSamples } from "../unit/tls/node.ts";
import { until } from "../until.ts";
import { besideBefore, type Figures, round, row, sideBySide, table, undisturbed } from "./figures.ts";

const RUNS = 9;

/** What a machine costs that has programs with TLS inside. @param before another executable, run in turn with this one */
export async function scanSection(before: string | undefined): Promise<string> {
  const sample = nodeSamples.find(({ arch, version }) => arch === "x64" && version === "22.23.3");
  if (sample === undefined) throw new Error("Node.js 22 is no sample");
  using certificate = certified();
  const script = join(repository, "test/e2e/https.script.mjs");
  const args = [script, certificate.at("key.pem"), certificate.at("cert.pem")];
  const programs = [await loadNode(sample), join(repository, "node_modules/bun/bin/bun.exe")];
  // Processes of their own, among which are no others of this machine.
  const start = programs.map((program) => `'${[program, ...args].join("' '")}' >&2 &`).join(" ");
  const unshare = ["unshare", "--pid", "--fork", "--kill-child", "--mount-proc"];
  const machine = Bun.spawn([...unshare, "sh", "-c", `${start} wait`], { stdin: "ignore", stderr: "pipe" });
  try {
    const inside = () => readFileSync(`/proc/${machine.pid}/task/${machine.pid}/children`, "utf8").trim();
    await until(() => inside() !== "");
    const there = ["nsenter", "--target", inside(), "--pid", "--mount", "--"];
    const listening = machine.stderr.getReader();
    for (let text = ""; text.split("listening").length <= programs.length; )
      text += new TextDecoder().decode((await listening.read()).value);
    const asked = [["detect"], ["tls", "--source", "table,code"], ["tls"], ["run"]];
    const pahole = [...there, "pahole", "-C", "tcp_sock", "/sys/kernel/btf/vmlinux"];
    const builds = [executable, ...(before === undefined ? [] : [before])];
    const commands = asked.flatMap((words) =>
      builds.map((build) => [...there, build, ...words, "--format", "json"]),
    );
    const [yardstick, ...figures] = await undisturbed(() => sideBySide([pahole, ...commands], RUNS));
    if (yardstick === undefined) throw new Error("nothing was measured");
    const line = (name: string, now: Figures, old: Figures | undefined): string => {
      const times = `${round(now.cpu / yardstick.cpu)}×`;
      return row(`\`${name}\``, now.wall, now.cpu, now.memory, times, ...besideBefore(now, old));
    };
    const rows = asked.map((words, index) => {
      const [now = yardstick, old] = figures.slice(index * builds.length, (index + 1) * builds.length);
      return line(`offsetof ${words.join(" ")}`, now, old);
    });
    rows.push(line("pahole -C tcp_sock", yardstick, before === undefined ? undefined : yardstick));
    const head = ["command", "wall ms", "cpu ms", "memory MiB", "cpu ÷ `pahole`"];
    return `## A machine with Node.js and Bun running

Both make HTTPS requests to themselves, in a pid namespace of their own where the commands run too, ${RUNS} runs of each in turn, before all
else on the machine (SCHED_FIFO).${before === undefined ? "" : " Beside it an earlier build."}

${table([...head, ...(before === undefined ? [] : ["wall ÷ before", "cpu ÷ before", "memory ÷ before"])], rows)}
`;
  } finally {
    machine.kill("SIGKILL");
    await machine.exited;
  }
}
