import { defineCommand } from "citty";
import { flags } from "./flags.ts";
import { print } from "./print.ts";
import { collect } from "./run.ts";

export default defineCommand({
  meta: { name: "kernel", description: "The running kernel's constants" },
  args: flags,
  run: async ({ args }) => print(await collect(["kernel"], args), args.format),
});
