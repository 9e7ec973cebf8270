import type { VersionNodes } from "../../elf/dynamic.ts";
import { compareReleases, parseRelease, type Release, seriesOf } from "../layouts/release.ts";

/**
 * What the version nodes of a libssl prove of its release, whatever a libcrypto's text says.
 *
 * OpenSSL puts each new symbol into a node named for the release that brought it (util/libssl.num and libcrypto.num of
 * its sources). So a libssl is at least as new as the newest node it defines; and where a release brought a symbol that
 * every configuration has, one without that node is older. Forks that keep the names (quictls) keep the meaning.
 */

/** `OPENSSL_3.2.0`, `OPENSSL_1_1_1a`; a vendor's own nodes are of other forms. */
const nodeName = /^OPENSSL_(\d{1,4})[._](\d{1,4})[._](\d{1,4}[a-z]?)$/;
/** The name of the library that a libssl needs, bundled copies' too: `libcrypto-1a2b.so.3`. */
export const isLibcrypto = (soname: string): boolean => /^libcrypto(-[^/]*)?\.so[^/]*$/.test(soname);

function known(text: string): Release {
  const release = parseRelease(text);
  if (release === null) throw new Error(`${text} is no release`);
  return release;
}

/**
 * Releases whose libssl always has the node of that name: by symbols it `defines`, or by those it `needs` of libcrypto.
 * 3.1 brought none to libssl. Sources: the symbols of util/libssl.num that depend on no option, of 1.1.1w, 3.0.20, 3.5.7, 3.6.3
 * and 4.0.2, which name the releases before them; 3.6's OPENSSL_sk_set_thunks is called wherever a stack is made
 * (safestack.h). `readelf -V` of Debian's 1.1.1w, 3.0.22, 3.5.9, 3.6.5 and 4.0.3 says the same.
 */
const firsts = (
  [
    ["1.1.0", "defines"],
    ["1.1.1", "defines"],
    ["1.1.1a", "defines"],
    ["3.0.0", "defines"],
    ["3.2.0", "defines"],
    ["3.3.0", "defines"],
    ["3.4.0", "defines"],
    ["3.5.0", "defines"],
    ["3.6.0", "needs"],
    ["4.0.0", "defines"],
  ] as const
).map(([text, by]) => ({ release: known(text), by }));

/** Every series of which something is known here, oldest first. */
const everySeries = "1.0.0 1.0.1 1.0.2 1.1.0 1.1.1 3.0 3.1 3.2 3.3 3.4 3.5 3.6 4.0".split(" ");
const firstOf = (series: string): Release => known(series.startsWith("1.") ? series : `${series}.0`);
const textOf = ({ numbers, letters }: Release): string => numbers.join(".") + letters;

/** What a libssl's nodes say: it is of release `from` or a newer one, and older than `before`. */
export interface LibsslNodes {
  /** The newest node it defines, e.g. `OPENSSL_3.5.0`. */
  readonly defined: string;
  /** The newest it needs of libcrypto; null where it needs none of this form. */
  readonly needed: string | null;
  readonly from: string;
  /** Null where no release is known that it must be older than. */
  readonly before: string | null;
}

interface Node {
  readonly name: string;
  readonly release: Release;
}

const newer = (a: Release, b: Release): Release => (compareReleases(a, b) < 0 ? b : a);

function newest(names: readonly string[]): Node | null {
  const nodes = names.flatMap((name): Node[] => {
    const [, major, minor, patch] = nodeName.exec(name) ?? [];
    const release = parseRelease(`${major}.${minor}.${patch}`);
    return release === null ? [] : [{ name, release }];
  });
  return nodes.sort((a, b) => compareReleases(b.release, a.release))[0] ?? null;
}

/** The nodes that a libssl needs of its libcrypto. */
export const neededOfLibcrypto = ({ needed }: VersionNodes): readonly string[] =>
  needed.filter(({ file }) => isLibcrypto(file)).flatMap(({ nodes }) => nodes);

/** Null where it defines no node of OpenSSL's: another library, or one built without versions. */
export function libsslNodes(nodes: VersionNodes): LibsslNodes | null {
  const defined = newest(nodes.defined);
  if (defined === null) return null;
  const needed = newest(neededOfLibcrypto(nodes));
  // A vendor may give an old libcrypto the node of a later patch, so that what is needed tells the series alone.
  const built = needed === null ? defined.release : firstOf(seriesOf(needed.release));
  const seen = {
    defines: defined.release,
    needs: newer(defined.release, needed?.release ?? defined.release),
  };
  const before = firsts.find(({ release, by }) => compareReleases(seen[by], release) < 0);
  return {
    defined: defined.name,
    needed: needed?.name ?? null,
    from: textOf(newer(defined.release, built)),
    before: before === undefined ? null : textOf(before.release),
  };
}

/** Whether a libssl with these nodes can be of that release. */
export function admits({ from, before }: LibsslNodes, release: Release): boolean {
  // A pre-release has the nodes of its release already, or not yet.
  if (before !== null && compareReleases(release, known(before)) >= 0) return false;
  return compareReleases({ ...release, suffix: "" }, known(from)) >= 0;
}

/** The known series that a libssl with these nodes can be of, oldest first, e.g. `["3.0", "3.1"]`; none where they contradict each other. */
export function possibleSeries(nodes: LibsslNodes): readonly string[] {
  const from = known(nodes.from);
  return everySeries.filter((series) => admits(nodes, series === seriesOf(from) ? from : firstOf(series)));
}

/** For people: `OpenSSL 3.0 or 3.1`, `OpenSSL 4.0 or later`. */
export function seriesText(nodes: LibsslNodes): string {
  const [last, ...others] = [...possibleSeries(nodes), ...(nodes.before === null ? ["later"] : [])].reverse();
  if (last === undefined) return "no series of OpenSSL";
  return `OpenSSL ${others.length === 0 ? last : `${others.reverse().join(", ")} or ${last}`}`;
}
