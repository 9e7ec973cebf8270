import { defineCommand } from "citty";
import { usage } from "../output/failure.ts";
import { choiceOf, type Part } from "./choice.ts";
import { type DocumentFlags, type RunFlags, runFlags } from "./flags.ts";
import { collect, look, type TlsQuestion } from "./look.ts";
import { print, styleOf } from "./print.ts";

/** Prints what the flags choose of these parts. */
export async function answer(
  parts: readonly Part[],
  args: DocumentFlags | RunFlags,
  question?: TlsQuestion,
): Promise<void> {
  const choice = await choiceOf(args, parts);
  const looks = "verify" in args && args.verify === true ? (await import("./verify.ts")).lookAndVerify : look;
  const document = await collect(choice.parts, args, question, choice, choice.asked, looks);
  const isLive = question?.kind !== "image" && question?.kind !== "version";
  process.exitCode = await print(document, choice, { ...styleOf(args), isLive });
}

export default defineCommand({
  meta: { name: "run", description: "Everything for this machine: kernel and TLS libraries (the default)" },
  args: runFlags,
  run: ({ args }) => {
    if (args.verify === true && args.get !== undefined) throw usage("--get takes no --verify");
    return answer(["kernel", "tls"], args);
  },
});
