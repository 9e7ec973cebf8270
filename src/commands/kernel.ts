import { defineCommand } from "citty";
import { kernelFlags } from "./flags.ts";
import { answer } from "./run.ts";
import { answerFrom } from "./told.ts";

export default defineCommand({
  meta: {
    name: "kernel",
    description: "The running kernel's constants, or those of a document or of a kernel's image",
  },
  args: kernelFlags,
  run: async ({ args, rawArgs }) => {
    if (args.image !== undefined || args._.length > 0) {
      const { answerImages } = await import("./kernel-image.ts");
      if (await answerImages(args, rawArgs)) return;
    }
    if (!(await answerFrom("kernel", args))) await answer(["kernel"], args);
  },
});
