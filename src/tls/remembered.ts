import { statusOf } from "../../ffi/descriptors.ts";
import { digestOf } from "../input/digest.ts";
import type { InputFile } from "../input/input.ts";
import type { LibraryReport } from "../output/document.ts";

/** How many entries each map keeps: then the one that was asked for longest ago goes. */
const most = 512;
/** Up to so many bytes in all, files are compared by their bytes always; larger ones only where a file of the same build id was measured. */
const small = 16 << 20;

/** A map that forgets. */
class Recent<Value> {
  readonly #map = new Map<string, Value>();

  get(key: string): Value | undefined {
    const value = this.#map.get(key);
    if (value !== undefined) this.set(key, value);
    return value;
  }

  set(key: string, value: Value): void {
    this.#map.delete(key);
    this.#map.set(key, value);
    for (const oldest of this.#map.keys()) if (this.#map.size > most) this.#map.delete(oldest);
  }
}

/** What a report is of. */
export interface Measurable {
  /** The open files that it was measured of. */
  readonly files: readonly Pick<InputFile, "fd" | "path" | "size">[];
  readonly buildId: string | null;
  /** What else it depends on. */
  readonly about: string;
}

/**
 * What was measured, found again by the files themselves or by all of their bytes. A build id alone proves nothing: whoever makes a file
 * chooses it.
 */
export class RememberedReports {
  readonly #reports = new Recent<LibraryReport>();
  readonly #builds = new Recent<true>();

  /** What was measured of these files, or of others with the same bytes; else what is measured now. */
  async report(
    { files, buildId, about }: Measurable,
    measure: () => Promise<LibraryReport>,
  ): Promise<LibraryReport> {
    const keys = [[about, ...files.map(stampOf)].join(" ")];
    const isSmall = files.reduce((sum, { size }) => sum + size, 0) <= small;
    const known = this.#reports.get(keys[0] ?? "");
    if (known !== undefined) return known;
    if (buildId !== null && (isSmall || this.#builds.get(buildId) === true))
      keys.push(`${about} ${digestOf(files.map(({ fd }) => fd))}`);
    const report = this.#reports.get(keys[1] ?? "") ?? (await measure());
    for (const key of keys) this.#reports.set(key, report);
    if (buildId !== null) this.#builds.set(buildId, true);
    return report;
  }
}

/** What identifies a file as it is now: whoever writes to it changes its ctime. */
function stampOf({ fd, path }: Pick<InputFile, "fd" | "path">): string {
  const { dev, ino, size, mtimeNs, ctimeNs } = statusOf(fd, path);
  return [dev, ino, size, mtimeNs, ctimeNs].join(":");
}
