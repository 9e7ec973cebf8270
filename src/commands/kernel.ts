import { defineCommand } from "citty";
import { kernelFlags } from "./flags.ts";
import { answer } from "./run.ts";
import { answerFrom } from "./told.ts";

export default defineCommand({
  meta: { name: "kernel", description: "The running kernel's constants, or those that a document tells" },
  args: kernelFlags,
  run: async ({ args }) => (await answerFrom("kernel", args)) || answer(["kernel"], args),
});
