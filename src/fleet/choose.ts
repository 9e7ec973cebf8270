import type { Earlier, EarlierLibrary, MergedLayouts } from "../output/earlier.ts";
import { Failure } from "../output/failure.ts";

/** Which of the things in a document is meant; undefined: the one that there is. */
export interface WantedThing {
  readonly release?: string | undefined;
  /** In hexadecimal digits. */
  readonly buildId?: string | undefined;
}

type Host = Earlier["host"]["kernel"];

/** A kernel and libraries with their constants, wherever they were told. */
export interface Chosen extends Pick<Earlier, "kernel" | "tls"> {
  readonly arch: string;
  /** The kernel that they are told of; null: there are several, and none was named. */
  readonly host: Host | null;
}

/** Things of any document: of one machine, or of those that were merged. */
interface Things {
  readonly kernels: readonly {
    readonly arch: string;
    readonly host: Host;
    readonly kernel: Earlier["kernel"];
  }[];
  readonly libraries: readonly { readonly arch: string; readonly library: EarlierLibrary }[] | undefined;
}

/**
 * What is meant of a document. A name that was given and is not in it is an error.
 * @param part what is asked for @param path for errors @throws Failure that tells which there are
 */
export function choose(
  from: Earlier | MergedLayouts,
  part: "kernel" | "tls",
  { release, buildId }: WantedThing,
  path: string,
): Chosen {
  const { kernels, libraries } = thingsIn(from);
  const named = kernels.filter(({ host }) => release === undefined || host.release === release);
  const meant = libraries?.filter(({ library }) => buildId === undefined || library.build_id === buildId);
  const releases = kernels.map(({ host }) => host.release);
  if (release !== undefined && named.length === 0) throw absent(path, `kernel ${release}`, releases);
  if (buildId !== undefined && (meant ?? []).length === 0) {
    const known = (libraries ?? []).flatMap(({ library }) => library.build_id ?? []);
    throw absent(path, `library of build id ${buildId}`, known);
  }
  if (part === "kernel" && named.length > 1)
    throw new Failure(
      "E_CONSTANTS",
      `${path} tells of several kernels: --release names one of ${list(releases)}`,
    );
  const arches = new Set(part === "tls" ? meant?.map(({ arch }) => arch) : []);
  const [one, ...others] = named.filter(({ arch }) => arches.size === 0 || arches.has(arch));
  const kernel = others.length === 0 ? one : undefined;
  return {
    arch: meant?.[0]?.arch ?? one?.arch ?? "",
    host: kernel?.host ?? null,
    kernel: kernel?.kernel,
    tls: meant?.map(({ library }) => library),
  };
}

function thingsIn(from: Earlier | MergedLayouts): Things {
  if (!("kernels" in from)) {
    const { arch } = from.tool;
    return {
      kernels: [{ arch, host: from.host.kernel, kernel: from.kernel }],
      libraries: from.tls?.map((library) => ({ arch, library })),
    };
  }
  return {
    kernels: from.kernels.map(({ arch, release, version, ...kernel }) => ({
      arch,
      host: { release, version },
      kernel,
    })),
    libraries: from.libraries.map(({ arch, paths, ...library }) => ({
      arch,
      library: { path: paths[0] ?? null, ...library },
    })),
  };
}

/** Names that are told, of many that there are. */
const FEW = 10;
const list = (names: readonly string[]): string =>
  `${names.slice(0, FEW).join(", ")}${names.length > FEW ? ", ..." : ""}` || "none";
const absent = (path: string, what: string, known: readonly string[]): Failure =>
  new Failure("E_CONSTANTS", `${path} has no ${what}; there are: ${list(known)}`);
