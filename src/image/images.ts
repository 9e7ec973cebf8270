import { statSync } from "node:fs";
import { resolve } from "node:path";
import { Root } from "../host/root.ts";
import { InputError, InputFile } from "../input/input.ts";
import { bytesOf, shownName } from "../input/name.ts";
import { Failure } from "../output/failure.ts";
import { codeOf } from "../self/thrown.ts";
import { formatOf, isKernelName } from "./kernel-file.ts";

/** Where a root keeps its kernels. */
const folders = ["boot", "lib/modules", "usr/lib/modules"] as const;

/** A file to be read, open. */
export interface Image {
  readonly file: InputFile;
  /** Whether it must be a kernel: it was named itself, or is called as a root calls its kernels. */
  readonly isNamed: boolean;
}

/**
 * The kernels' files that an argument means, each open until the next is asked for: itself; those of an unpacked root, in
 * its /boot and /lib/modules; and the files of a folder that can be one. In a folder links are followed inside it, and none
 * leads out of it.
 *
 * @throws Failure where it cannot be read
 */
export function* imagesOf(argument: string): Generator<Image> {
  if (!isFolder(argument)) {
    using file = attempt(argument, () => InputFile.open(argument, shownName(argument), { follow: true }));
    yield { file, isNamed: true };
    return;
  }
  using root = new Root(resolve(argument));
  const seen = new Set<string>();
  for (const name of [...kernelsIn(root), ...root.list("/").toSorted()]) {
    using reached = root.reach(`/${name}`);
    // A link like /vmlinuz leads to what has a name of its own.
    if (reached === null || !reached.stat.isFile() || seen.has(reached.identity)) continue;
    using file = InputFile.of(reached.fd, shownName(`${argument.replace(/\/+$/, "")}${reached.path}`));
    const isNamed = isKernelName(name);
    if (!isNamed && formatOf(file) === null) continue;
    seen.add(reached.identity);
    yield { file, isNamed };
  }
}

/** Paths in a root that are called as kernels are, by name. */
const kernelsIn = (root: Root): string[] =>
  folders
    .flatMap((folder) => {
      const names = root.list(`/${folder}`).toSorted();
      return folder === "boot"
        ? names.map((name) => `${folder}/${name}`)
        : names.flatMap((release) =>
            root.list(`/${folder}/${release}`).map((name) => `${folder}/${release}/${name}`),
          );
    })
    .filter(isKernelName);

const isFolder = (path: string): boolean => attempt(path, () => statSync(bytesOf(path)).isDirectory());

/** @throws Failure that names the path */
function attempt<Result>(path: string, act: () => Result): Result {
  try {
    return act();
  } catch (error) {
    if (error instanceof InputError) throw new Failure("E_IMAGE", error.message);
    const code = codeOf(error) ?? error;
    throw new Failure("E_FILE", `${shownName(path)} cannot be read: ${code}`);
  }
}
