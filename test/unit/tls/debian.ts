import { type Architecture, type LoadedPackage, loadPackage } from "../../../assets/build/debian.ts";

export interface Sample {
  readonly suite: string;
  readonly arch: Architecture;
  readonly name: string;
}

/** Every library the tests read: OpenSSL 1.1.1 to 4.0, BoringSSL of Android 10, 13 and 14, two architectures. */
export const samples: readonly Sample[] = [
  { suite: "bullseye", name: "libssl1.1" },
  { suite: "bookworm", name: "libssl3" },
  { suite: "trixie", name: "libssl3t64" },
  { suite: "sid", name: "libssl3t64" },
  { suite: "experimental", name: "libssl4" },
  { suite: "bullseye", name: "android-libboringssl" },
  { suite: "bookworm", name: "android-libboringssl" },
  { suite: "trixie", name: "android-libboringssl" },
].flatMap(({ suite, name }) => (["amd64", "arm64"] as const).map((arch) => ({ suite, arch, name })));
const programs: readonly Sample[] = [
  { suite: "bullseye", arch: "amd64", name: "openssl" },
  { suite: "bookworm", arch: "amd64", name: "openssl" },
];

const loaded = new Map<string, LoadedPackage>();
const keyOf = (...parts: string[]): string => parts.join(" ");

/** Fetches all samples on the first run, which takes a minute; later ones find them in the cache. */
export async function loadSamples(): Promise<void> {
  for (const { suite, arch, name } of [...samples, ...programs]) {
    loaded.set(keyOf(suite, arch, name), await loadPackage(suite, name, arch));
  }
}

/** For `beforeAll(loadSamples, fetchTimeout)`. Milliseconds. */
export const fetchTimeout = 600_000;

/** A sample that {@link loadSamples} has fetched. */
export function debianPackage(suite: string, arch: Architecture, name: string): LoadedPackage {
  const found = loaded.get(keyOf(suite, arch, name));
  if (found === undefined)
    throw new Error(`${suite} ${arch} ${name} is no sample, or loadSamples was not awaited`);
  return found;
}
