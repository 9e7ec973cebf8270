import { defineCommand } from "citty";
import { usage } from "../output/failure.ts";
import type { Scope } from "../tls/find/find.ts";
import { type TlsFlags, tlsFlags } from "./flags.ts";
import type { TlsQuestion } from "./look.ts";
import { answer } from "./run.ts";
import { absolute } from "./settings.ts";
import { answerFrom } from "./told.ts";

export default defineCommand({
  meta: { name: "tls", description: "The constants of this machine's TLS libraries, or of the files named" },
  args: tlsFlags,
  run: async ({ args }) => {
    if (args.watch === true) return (await import("./watch.ts")).watchTls(args);
    const question = questionOf(args);
    return (await answerFrom("tls", args)) || answer(["tls"], args, question);
  },
});

/** Which libraries are meant. @throws Failure of wrong usage where the flags contradict each other */
function questionOf(args: TlsFlags): TlsQuestion {
  const paths = args._;
  const text = args["version-text"];
  const ways = [
    paths.length > 0,
    args.pid !== undefined,
    args.all,
    text !== undefined,
    args.constants !== undefined,
  ];
  if (ways.filter(Boolean).length > 1) {
    throw usage("tls takes one of PATH, --pid, --all, --version-text and --constants, not several");
  }
  if (text !== undefined && args.root === undefined) return { kind: "version", text };
  const scope = scopeOf(paths, args.pid, args.all === true);
  if (args.root === undefined) return scope;
  if ([args.pid, text, args.constants].some((flag) => flag !== undefined))
    throw usage(
      "--root is of a tree in which nothing runs: it takes no --pid, --version-text or --constants",
    );
  if (args.root === "") throw usage("--root needs a folder");
  return { kind: "image", root: absolute(args.root), scope };
}

function scopeOf(paths: readonly string[], pid: string | undefined, deep: boolean): Scope {
  if (paths.length > 0) return { kind: "files", paths, folders: true };
  if (pid === undefined) return { kind: "machine", deep };
  if (!/^[1-9]\d{0,9}$/.test(pid)) throw usage(`--pid cannot be ${JSON.stringify(pid)}: a process's number`);
  return { kind: "process", pid: Number(pid) };
}
