import { NativeLibrary } from "../../../ffi/library.ts";

/** Loads the files in order: their constructors run. */
export function load(_request: unknown, files: readonly string[]): { loaded: number } {
  for (const path of files) NativeLibrary.open(path);
  return { loaded: files.length };
}
