import { lstatSync, readdirSync, statSync } from "node:fs";
import { below, bytesOf, nameOf, shownName } from "../input/name.ts";
import { unreadable } from "./pieces.ts";

/** A file to be merged, and what its machine is called. */
export interface Input {
  readonly path: string;
  readonly name: string;
}

const documents = /\.(json|ndjson|jsonl)$/;

/**
 * The files that an argument means: itself, or, of a folder, every `.json`, `.ndjson` and `.jsonl` in it and below, by name.
 * Links to folders are not followed. A machine is called as its file, without the ending.
 *
 * @throws Failure where it cannot be read
 */
export function* inputsOf(path: string): Generator<Input> {
  if (path === "-") return yield { path, name: "stdin" };
  if (!isFolder(path)) return yield { path, name: shownName(path) };
  yield* filesBelow(path, "");
}

function* filesBelow(folder: string, prefix: string): Generator<Input> {
  for (const name of namesIn(folder)) {
    const path = below(folder, name);
    if (documents.test(name)) yield { path, name: shownName(`${prefix}${name.replace(documents, "")}`) };
    else if (lstatSync(bytesOf(path), { throwIfNoEntry: false })?.isDirectory())
      yield* filesBelow(path, `${prefix}${name}/`);
  }
}

function namesIn(folder: string): string[] {
  try {
    return readdirSync(bytesOf(folder), { encoding: "buffer" }).map(nameOf).sort();
  } catch (error) {
    throw unreadable(folder, error);
  }
}

function isFolder(path: string): boolean {
  try {
    return statSync(bytesOf(path)).isDirectory();
  } catch (error) {
    throw unreadable(path, error);
  }
}
