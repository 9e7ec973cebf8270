/** OpenSSL built so that members of its structs lie elsewhere than in Debian's build. */
export interface Variant {
  /** Whose source is built. */
  readonly release: keyof typeof releases;
  /** What Configure is told beside Debian's options. */
  readonly options: readonly string[];
  /** Configure is not told Debian's. */
  readonly isUpstream?: true;
  /** A member of a vendor's own, put before the line of ssl/ssl_local.h that begins so. */
  readonly added?: { readonly member: string; readonly before: string };
  /** The options move members of libcrypto's own structs, so that Debian's does not serve. */
  readonly ownCrypto?: true;
  /** Tested every time; the others by `npm run test:matrix`. */
  readonly isUsual?: true;
}

/** Suites that have the source, and a libcrypto.a of the same series. `published`: of test/truth, built as Debian does. */
export const releases = {
  "3.0": {
    suite: "bookworm",
    version: "3.0.20-1~deb12u2",
    published: "openssl-3.0.20",
  },
  "3.5": {
    suite: "trixie",
    version: "3.5.7-1~deb13u2",
    published: "openssl-3.5.7",
  },
} as const;

/** Behind what accessors tell of a session, and amid the secrets that none tells. */
const ofSession = { member: "void *vendor;", before: "unsigned long cipher_id;" };
/** As small as the padding behind the secrets, which keeps all behind that in its place. */
const small = { member: "unsigned int vendor;", before: "unsigned char handshake_secret[" };
const ofSecrets = { member: "unsigned char vendor[64];", before: "unsigned char client_app_traffic_secret[" };
/** Every option that leaves members out. */
const least = ["no-psk", "no-srp", "no-ct", "no-nextprotoneg", "no-srtp"];

const variants: readonly Variant[] = [
  { release: "3.0", options: ["no-psk", "no-shared"], isUpstream: true, isUsual: true },
  { release: "3.0", options: ["no-psk"] },
  { release: "3.0", options: ["no-srp"] },
  { release: "3.0", options: ["no-ct"] },
  { release: "3.0", options: ["no-nextprotoneg"] },
  { release: "3.0", options: ["no-srtp"] },
  { release: "3.0", options: least, isUsual: true },
  { release: "3.0", options: [], added: ofSession, isUsual: true },
  { release: "3.0", options: [], added: ofSecrets },
  { release: "3.0", options: [], added: small },
  { release: "3.0", options: ["no-deprecated"], ownCrypto: true },
  { release: "3.5", options: ["no-psk", "no-shared"], isUpstream: true },
  { release: "3.5", options: ["no-psk"], isUsual: true },
  { release: "3.5", options: ["no-srp"] },
  { release: "3.5", options: ["no-ct"] },
  { release: "3.5", options: ["no-nextprotoneg"] },
  { release: "3.5", options: ["no-srtp"] },
  { release: "3.5", options: least, isUsual: true },
  { release: "3.5", options: [], added: ofSession },
  { release: "3.5", options: [], added: ofSecrets },
  { release: "3.5", options: [], added: small },
  { release: "3.5", options: ["no-deprecated"], ownCrypto: true },
];

export const isAllChosen = (): boolean => process.env.OFFSETOF_MATRIX === "all";

/** The rows to test: all where the environment variable OFFSETOF_MATRIX is `all`, else the usual ones. */
export const chosenVariants = (): readonly Variant[] =>
  isAllChosen() ? variants : variants.filter(({ isUsual }) => isUsual);

/** E.g. `3.0 no-psk no-shared as upstream configures it`. */
export const nameOf = ({ release, options, isUpstream, added }: Variant): string =>
  [
    release,
    ...options,
    ...(isUpstream ? ["as upstream configures it"] : []),
    ...(added ? [`with ${added.member}`] : []),
  ].join(" ");
