import type { ArgsDef } from "citty";
import { name } from "../../package.json";
import { hintOf } from "../../src/commands/help.ts";
import { type Command, everyCommand, isGroup, program } from "../../src/commands/program.ts";

/** What may stand behind a flag or as an argument. */
interface Values {
  /** Words that are meant as they are. */
  readonly words: readonly string[];
  /** Several of them, with commas between. */
  readonly isList: boolean;
  readonly isFile: boolean;
}

/** Read from what help shows, `json|table`, `FILE`, `kernel|PATH`: words in small letters are meant as they are. */
export function valuesOf(hint: string): Values {
  const parts = hint.split(/[|,]/);
  return {
    words: parts.filter((part) => /^[a-z][a-z0-9-]*$/.test(part)),
    isList: hint.includes(","),
    isFile: parts.some((part) => /^(FILE|PATH|KEYLOG|IN)\b/.test(part)),
  };
}

/** A flag as it is typed, its short form too, and what follows it; null where nothing does. */
interface Flag {
  readonly spellings: readonly string[];
  readonly text: string;
  readonly values: Values | null;
}

function flagsOf(args: ArgsDef): readonly Flag[] {
  return Object.entries(args)
    .filter(([, arg]) => arg.type !== "positional")
    .map(([flag, arg]) => ({
      spellings: [...("alias" in arg && typeof arg.alias === "string" ? [`-${arg.alias}`] : []), `--${flag}`],
      text: arg.description ?? "",
      values: arg.type === "boolean" ? null : valuesOf(hintOf(arg)),
    }));
}

const positionalsOf = ({ args }: Command): readonly Values[] =>
  Object.values(args)
    .filter((arg) => arg.type === "positional")
    .map((arg) => valuesOf(arg.valueHint ?? ""));

const header = (comment: string): string =>
  `${comment} of ${name}; made by "bun run docs" from the commands' definitions.\n`;

/** A completion for bash 4 or later, without bash-completion. */
export async function bashCompletion(): Promise<string> {
  const commands = [program, ...(await everyCommand())];
  const groups = commands.filter(isGroup).map((command) => command.name);
  const spellings = (command: Command): string[] =>
    isGroup(command) ? ["--help"] : flagsOf(command.args).flatMap((flag) => flag.spellings);
  const [first = [], ...others] = commands.filter((command) => !isGroup(command)).map(spellings);
  const common = first.filter((flag) => others.every((each) => each.includes(flag)));
  const words = commands.map((command) => {
    const own = spellings(command).filter((flag) => isGroup(command) || !common.includes(flag));
    const positionals = positionalsOf(command);
    const offered = [...Object.keys(command.children), ...positionals.flatMap((each) => each.words), ...own];
    const all = [...offered, ...(isGroup(command) ? [] : ["$common"])].join(" ");
    return `    "${command.name}") words="${all}"${positionals.some(({ isFile }) => isFile) ? " files=1" : ""} ;;`;
  });
  return `${header("# Completion for bash")}
_${name}() {
  local current=\${COMP_WORDS[COMP_CWORD]} previous=\${COMP_WORDS[COMP_CWORD-1]} command="" words="" files="" list="" head=""
  local common="${common.join(" ")}"
  # Bash takes --flag=value apart at the =.
  if [[ $current == = ]]; then current=""; elif [[ $previous == = ]]; then previous=\${COMP_WORDS[COMP_CWORD-2]}; fi
  if ((COMP_CWORD > 1)) && [[ \${COMP_WORDS[1]} != -* ]]; then
    command=\${COMP_WORDS[1]}
    case $command in
    ${groups.join(" | ")})
      if ((COMP_CWORD > 2)) && [[ \${COMP_WORDS[2]} != -* ]]; then command+=" \${COMP_WORDS[2]}"; fi ;;
    esac
  fi
  case "$command $previous" in
${bashValues(commands).join("\n")}
  *)
    case $command in
${words.join("\n")}
    esac ;;
  esac
  if [[ -n $list && $current == *,* ]]; then
    head=\${current%,*},
    current=\${current##*,}
  fi
  mapfile -t COMPREPLY < <(compgen -P "$head" -W "$words" -- "$current")
  if [[ -n $files ]]; then
    local file
    while IFS= read -r file; do COMPREPLY+=("$file"); done < <(compgen -f -- "$current")
  fi
}
complete -o filenames -F _${name} ${name}
`;
}

/** What may follow each flag, a pattern for all commands where it is the same in all. */
function bashValues(commands: readonly Command[]): string[] {
  const uses = commands.flatMap(({ name: words, args }) =>
    flagsOf(args).flatMap(({ spellings, values }) =>
      values === null ? [] : spellings.map((flag) => ({ words, flag, offer: bashOffer(values) })),
    ),
  );
  return [...Map.groupBy(uses, ({ flag }) => flag)].flatMap(([flag, rows]) => {
    const offers = Map.groupBy(rows, ({ offer }) => offer);
    return [...offers].map(([offer, same]) => {
      const pattern =
        offers.size === 1 ? `*" ${flag}"` : same.map(({ words }) => `"${words} ${flag}"`).join(" | ");
      return `  ${pattern}) ${offer} ;;`;
    });
  });
}

const bashOffer = ({ words, isList, isFile }: Values): string =>
  [
    ...(words.length > 0 ? [`words="${words.join(" ")}"`] : []),
    ...(isList && words.length > 0 ? ["list=1"] : []),
    ...(isFile ? ["files=1"] : []),
  ].join(" ") || ":";

/** Quoted for zsh, within a single-quoted specification of _arguments. */
const zshText = (text: string): string =>
  text.replaceAll("'", "'\\''").replaceAll("[", "\\[").replaceAll("]", "\\]").replaceAll(":", "\\:");

function zshAction({ words, isList, isFile }: Values): string {
  if (words.length === 0) return isFile ? "_files" : "";
  if (isList) return `_sequence compadd - ${words.join(" ")}`;
  return isFile
    ? `_alternative "words\\:word\\:(${words.join(" ")})" "files\\:file\\:_files"`
    : `(${words.join(" ")})`;
}

function zshFlags(args: ArgsDef): string[] {
  return flagsOf(args).map(({ spellings, text, values }) => {
    const equals = values === null ? "" : "=";
    const names = spellings.map((each) => (each.startsWith("--") ? `${each}${equals}` : each));
    const spelled = names.length > 1 ? `'(${spellings.join(" ")})'{${names.join(",")}}'` : `'${names[0]}`;
    return `${spelled}[${zshText(text)}]${values === null ? "" : `:value:${zshAction(values)}`}'`;
  });
}

/** A completion for zsh, a file for a folder of $fpath. */
export async function zshCompletion(): Promise<string> {
  const functions = await Promise.all([program, ...(await everyCommand())].map(zshFunction));
  return `#compdef ${name}
${header("# Completion for zsh")}
${functions.join("\n")}
_${name} "$@"
`;
}

const functionName = (command: Command): string =>
  `_${[name, ...command.name.split(" ")].filter(Boolean).join("_")}`;

async function zshFunction(command: Command): Promise<string> {
  const below = await Promise.all(Object.values(command.children).map((load) => load()));
  const flags = zshFlags(isGroup(command) ? {} : command.args);
  if (below.length === 0) {
    const places = positionalsOf(command)
      .map((values) => `'*:argument:${zshAction(values)}'`)
      .slice(0, 1);
    return `${functionName(command)}() {\n  _arguments -s ${[...flags, ...places].join(" \\\n    ")}\n}\n`;
  }
  const last = (each: Command): string => each.name.split(" ").at(-1) ?? "";
  const rows = below.map((each) => `    '${last(each)}:${zshText(each.description)}'`);
  const cases = below.map((each) => `      ${last(each)}) ${functionName(each)} ;;`);
  return `${functionName(command)}() {
  local curcontext="$curcontext" state line
  local -a commands=(
${rows.join("\n")}
  )
  _arguments -s -C -A '-*' ${[...flags, "'1:command:->command'", "'*::argument:->arguments'"].join(" \\\n    ")}
  case $state in
  command) _describe command commands ;;
  arguments)
    case $line[1] in
${cases.join("\n")}
    esac ;;
  esac
}
`;
}
