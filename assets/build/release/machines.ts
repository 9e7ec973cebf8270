/**
 * The architectures of a release, with the names that each kind of package has for them. `target` is build.ts's, and that
 * of folders below assets/.
 */
export const machines = [
  {
    arch: "x64",
    target: "x64",
    runtime: "@oven/bun-linux-x64",
    debian: "amd64",
    rpm: "x86_64",
    oci: "amd64",
  },
  {
    arch: "arm64",
    target: "arm64",
    runtime: "@oven/bun-linux-aarch64",
    debian: "arm64",
    rpm: "aarch64",
    oci: "arm64",
  },
] as const;

export type Machine = (typeof machines)[number];

/** What is released. The same of it, made by the same tools, gives the same bytes. */
export interface Release {
  /** Of package.json. */
  readonly version: string;
  readonly description: string;
  /** Seconds since 1970: every time in a package. */
  readonly date: number;
  /** How hard is compressed: `fast` is for tests. */
  readonly effort: "best" | "fast";
}

/** An executable of a release, and its bill of materials. */
export interface Product {
  readonly machine: Machine;
  /** Path of the executable. */
  readonly executable: string;
  /** CycloneDX JSON. */
  readonly materials: string;
}

/** Environment of the tools: nothing of the caller's changes what they write. */
export const environment = ({ date }: Release): Record<string, string> => ({
  SOURCE_DATE_EPOCH: String(date),
  TZ: "UTC",
});
