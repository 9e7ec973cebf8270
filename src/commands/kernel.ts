import { defineCommand } from "citty";
import { documentFlags } from "./flags.ts";
import { answer } from "./run.ts";

export default defineCommand({
  meta: { name: "kernel", description: "The running kernel's constants" },
  args: documentFlags,
  run: ({ args }) => answer(["kernel"], args),
});
