import { readFileSync } from "node:fs";
import { type ParseArgsConfig, parseArgs } from "node:util";

/** The comment at the head of the file that was started, without its stars: it says how the command is called and what it does. */
export function help(): string {
  const [, text = ""] = /^\/\*\*([\s\S]*?)\*\//.exec(readFileSync(Bun.main, "utf8")) ?? [];
  return text.replaceAll(/^ ?\* ?/gm, "").trim();
}

/**
 * The options of one of this repository's own commands, as node's parseArgs gives them. With --help it prints the comment at the head of
 * the command's file and ends; what parseArgs refuses ends with 2 and the same comment on stderr.
 */
export function optionsOf<Config extends ParseArgsConfig>(
  config: Config,
): ReturnType<typeof parseArgs<Config>> {
  if (process.argv.slice(2).includes("--help")) {
    console.log(help());
    process.exit(0);
  }
  try {
    return parseArgs(config);
  } catch (error) {
    console.error(`${error instanceof Error ? error.message : error}\n\n${help()}`);
    process.exit(2);
  }
}
