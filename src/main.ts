import { askArgument, childArgument, imageArgument, lateArgument } from "./self/child-arguments.ts";

/** The parts of itself that this program starts as children, by their first argument. They load no command. */
const children: Readonly<Record<string, (args: readonly string[]) => Promise<void>>> = {
  [childArgument]: async (args) => {
    const [{ runStage }, { jobs }] = await Promise.all([
      import("./tls/child/stages.ts"),
      import("./tls/probe/jobs.ts"),
    ]);
    return runStage(args, jobs);
  },
  [imageArgument]: async () => (await import("./image/readers.ts")).answerImage(),
  [lateArgument]: async () => (await import("./late.ts")).answerLate(),
  [askArgument]: async ([mounts]) => (await import("./host/asker.ts")).answerAll(Number(mounts)),
};

const [word = "", ...rest] = process.argv.slice(2);
const child = Object.hasOwn(children, word) ? children[word] : undefined;
if (child === undefined) await (await import("./cli.ts")).runCommandLine();
else {
  const fail = async (thrown: unknown) => (await import("./cli.ts")).fail(thrown);
  process.on("uncaughtException", fail).on("unhandledRejection", fail);
  await child(rest).catch(fail);
}
