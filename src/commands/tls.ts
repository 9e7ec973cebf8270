import { defineCommand } from "citty";
import { flags } from "./flags.ts";
import { print } from "./print.ts";
import { collect } from "./run.ts";

export default defineCommand({
  meta: { name: "tls", description: "The constants of this machine's TLS libraries" },
  args: flags,
  run: async ({ args }) => print(await collect(["tls"], args), args.format),
});
