import { basename } from "node:path";
import * as v from "valibot";
import { AT_FDCWD, openPath, readLink, whileMapped } from "../../../ffi/descriptors.ts";
import { GnutlsLibrary } from "../../../ffi/gnutls.ts";
import { LibraryError, NativeLibrary } from "../../../ffi/library.ts";
import { mappedAt } from "../../../ffi/memory.ts";
import { TlsLibrary } from "../../../ffi/openssl.ts";
import { nameOf, shownName } from "../../input/name.ts";
import type { KnownLibrary } from "../layouts/layouts.ts";
import { probeBoringssl } from "./boringssl.ts";
import { gnutlsSessions, probeGnutls } from "./gnutls.ts";
import type { Finding } from "./notes.ts";
import { probeOpenssl } from "./openssl.ts";
import { requestSchema } from "./request.ts";
import { makeSessions, type Session } from "./sessions.ts";

/** What is done with a library that is loaded, and by which functions it is known that its own files answer. */
interface Kind {
  readonly defines: string;
  /** A function that its libcrypto defines, which may be the same file. */
  readonly cryptoDefines: string;
  readonly probe: (library: NativeLibrary) => readonly Finding[];
  readonly sessions: (library: NativeLibrary, fds: readonly [number, number]) => readonly Session[];
}

const opensslKind = (probeIt: (library: TlsLibrary) => readonly Finding[]): Kind => ({
  defines: "SSL_new",
  cryptoDefines: "BIO_new",
  probe: (library) => probeIt(new TlsLibrary(library)),
  sessions: (library, fds) => makeSessions(new TlsLibrary(library), fds),
});

const kinds: Readonly<Record<KnownLibrary, Kind>> = {
  openssl: opensslKind(probeOpenssl),
  boringssl: opensslKind(probeBoringssl),
  gnutls: {
    defines: "gnutls_init",
    cryptoDefines: "gnutls_init",
    probe: (library) => probeGnutls(new GnutlsLibrary(library)),
    sessions: (library, fds) => gnutlsSessions(new GnutlsLibrary(library), fds),
  },
};

/**
 * Loads the library with its libcrypto into this process and measures it. Only for the child: the files' own code runs.
 *
 * @param files each behind all that it needs, the library the last
 * @throws where they cannot be loaded, others answer in their place, or they do not work
 */
export function probe(request: unknown, files: readonly string[]): readonly Finding[] {
  const { library, crypto } = v.parse(requestSchema, request);
  const kind = kinds[library];
  return kind.probe(open(files, crypto, kind));
}

/**
 * Loads the library with its libcrypto into this process and has it make sessions. Only for the child.
 *
 * @param files as above, and behind them two connected sockets
 * @throws as {@link probe}
 */
export function sessions(request: unknown, files: readonly string[]): readonly Session[] {
  const [client, server] = files.slice(-2).map((path) => Number(basename(path)));
  if (client === undefined || server === undefined) throw new Error("no sockets were given");
  const { library, crypto } = v.parse(requestSchema, request);
  const kind = kinds[library];
  return kind.sessions(open(files.slice(0, -2), crypto, kind), [client, server]);
}

function open(files: readonly string[], crypto: number, { defines, cryptoDefines }: Kind): NativeLibrary {
  const loaded = files.map(load);
  const ssl = loaded.at(-1);
  if (ssl === undefined) throw new Error("no library was given");
  checkOrigin(ssl, defines, files.at(-1));
  checkOrigin(ssl, cryptoDefines, files[crypto]);
  return ssl;
}

/** The dynamic linker's words, with the file's own name. @throws LibraryError */
function load(path: string): NativeLibrary {
  try {
    return NativeLibrary.open(path);
  } catch (error) {
    if (!(error instanceof LibraryError)) throw error;
    throw new LibraryError(error.message.replaceAll(path, () => whatIs(path)));
  }
}

/** The name of the file behind a descriptor, for people. */
function whatIs(path: string): string {
  using link = openPath(AT_FDCWD, Buffer.from(path), false, path);
  return shownName(nameOf(readLink(link.fd)));
}

/**
 * A second library of the same name in the process would win silently. What maps says of a file is not always what stat(2)
 * says (btrfs, overlayfs), and a name says nothing, so the file is mapped once more and the two are compared.
 */
function checkOrigin(library: NativeLibrary, name: string, file = ""): void {
  const address = library.symbol(name);
  const [origin, expected] = whileMapped(Number(basename(file)), file, (at) => mappedAt(Number(address), at));
  if (!origin || origin.file !== expected?.file) {
    const actual = !origin ? "no file" : shownName(nameOf(Buffer.from(origin.what, "latin1")));
    throw new Error(`${name} is of ${actual}, not of ${whatIs(file)}`);
  }
}
