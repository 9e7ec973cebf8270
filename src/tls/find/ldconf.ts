import { below, folderOf } from "../../input/name.ts";

/** The folders that ldconfig(8) looks for libraries in: it makes the cache of them. */
const confPath = "/etc/ld.so.conf";
/** Files that one may include, in all; folders in all of them; folders inside each other that a pattern goes through. */
const [mostFiles, mostFolders, mostParts] = [256, 1024, 16];

/**
 * The folders that /etc/ld.so.conf names, and the files that it includes, in their order, as written.
 *
 * @param read the text of a file; null where there is none
 * @param list names in a folder; none where there is none
 * @param refuse told what is left out, and why
 */
export function configured(
  read: (path: string) => string | null,
  list: (folder: string) => readonly string[],
  refuse: (path: string, why: string) => void,
): readonly string[] {
  const folders: string[] = [];
  const seen = new Set<string>();
  const visit = (path: string): void => {
    if (seen.has(path) || folders.length >= mostFolders) return;
    if (seen.size >= mostFiles) return;
    seen.add(path);
    if (seen.size === mostFiles) refuse(path, `more than ${mostFiles} files are included`);
    for (const line of read(path)?.split("\n") ?? []) {
      const [first = "", ...rest] = line.replace(/#.*/, "").trim().split(/\s+/);
      if (first === "include")
        for (const pattern of rest) for (const each of matches(absolute(pattern, path), list)) visit(each);
      else if (first !== "hwcap" && first.startsWith("/")) folders.push(first.replace(/=[^/=]*$/, ""));
    }
  };
  visit(confPath);
  if (folders.length > mostFolders) refuse(confPath, `more than ${mostFolders} folders are named`);
  return folders.slice(0, mostFolders);
}

const absolute = (pattern: string, from: string): string =>
  pattern.startsWith("/") ? pattern : below(folderOf(from), pattern);

/** The paths that a pattern of glob(7) stands for, by name. */
function matches(pattern: string, list: (folder: string) => readonly string[]): readonly string[] {
  const parts = pattern.split("/").filter((part) => part !== "" && part !== ".");
  if (parts.length > mostParts) return [];
  const step = (paths: readonly string[], part: string): readonly string[] =>
    isPattern(part)
      ? paths.flatMap((path) => {
          const names = list(path).filter((name) => matchesPart(part, name));
          return names.sort().map((name) => below(path, name));
        })
      : paths.map((path) => below(path, part));
  return parts.reduce((paths, part) => step(paths, part).slice(0, mostFiles), ["/"] as readonly string[]);
}

const isPattern = (part: string): boolean => /[*?[]/.test(part);

/** Whether a name is as one part of a pattern says. What begins with a dot is meant only where the pattern does. */
function matchesPart(part: string, name: string): boolean {
  if (name.startsWith(".") && !part.startsWith(".")) return false;
  // Braces and a bang before all mean nothing here, as for glob(3) without GLOB_BRACE.
  return new Bun.Glob(part.replace(/[{}!]/g, "\\$&").replace(/\[\\!/g, "[!")).match(name);
}
