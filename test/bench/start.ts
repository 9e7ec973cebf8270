/** Starting: the executable against the same program as Bun makes it, which the kernel starts by glibc's dynamic linker. */
import { join } from "node:path";
import { run } from "../../assets/build/run.ts";
import { executable, repository } from "../e2e/executable.ts";
import { row, sideBySide, table, undisturbed } from "./figures.ts";

const runs = 100;

export async function startSection(): Promise<string> {
  await run([process.execPath, "build.ts", "--plain"], { cwd: repository });
  const plain = join(repository, "dist/plain/offsetof");
  const asked = [["--version"], ["kernel", "--source", "btf", "--format", "json"]];
  const measured = await undisturbed(() =>
    asked.map((args) => {
      const onMusl = ["env", "OFFSETOF_LIBC=musl", executable, ...args];
      return [args, sideBySide([[executable, ...args], [plain, ...args], onMusl], runs)] as const;
    }),
  );
  const rows = measured.flatMap(([args, [ours, theirs, musl]]) => {
    if (ours === undefined || theirs === undefined || musl === undefined)
      throw new Error("nothing was measured");
    const name = `offsetof ${args.filter((arg) => !/json|--format/.test(arg)).join(" ")}`;
    const ratio = (one: number, other: number): string => `${(one / other).toFixed(2)}×`;
    return Object.entries({ "as it is": ours, "Bun's own": theirs, "on its own musl, by env(1)": musl }).map(
      ([kind, { wall, cpu, memory }]) =>
        row(`\`${name}\``, kind, wall, cpu, memory, ratio(wall, theirs.wall), ratio(cpu, theirs.cpu)),
    );
  });
  return `## Starting: the universal executable and what Bun makes

${runs} runs of each in turn, before all else on the machine (SCHED_FIFO). Bun's own is started by the kernel with the host's
glibc; the universal one by its launcher, which takes the same glibc. The goal is 1.05× at most.

${table(["command", "executable", "wall ms", "cpu ms", "memory MiB", "wall", "cpu"], rows)}
`;
}
