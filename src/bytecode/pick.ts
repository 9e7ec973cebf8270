import { isAtLeast } from "../host/identity.ts";
import { compareReleases, parseRelease } from "../tls/layouts/release.ts";

/** A kernel's upstream version. */
type KernelVersion = readonly [number, number, number];

/** The kernels that each program is compiled for: the first class whose features the kernel has is picked. */
const classes = [
  { suffix: "", since: [5, 8], why: "Linux 5.8 and later have global data and ring buffers" },
  { suffix: "_old", since: [0, 0], why: "Linux before 5.8 has no ring buffers" },
] as const;

/** Which of them may be picked: `auto` by the kernel's version. */
export type KernelClass = "auto" | "current" | "old";

const classOf = (kernel: KernelVersion, choice: KernelClass) =>
  classes.find(({ suffix, since: [major, minor] }) =>
    choice === "auto" ? isAtLeast(kernel, major, minor) : (choice === "old") === (suffix === "_old"),
  ) ?? classes[1];

/** How a version of OpenSSL holds a connection, told by the constants that only such a version has. */
const shapes = {
  connection: { constants: /^SSL_CONNECTION_ST_/, why: "the connection is an ssl_connection_st" },
  embedded: { constants: /^SSL_ST_S3_CLIENT_RANDOM$/, why: "s3 is embedded in ssl_st" },
  pointer: { constants: /^SSL3_STATE_ST_CLIENT_RANDOM$/, why: "ssl_st leads to s3 by a pointer" },
} as const;
type PickedShape = keyof typeof shapes;

interface Program {
  readonly name: string;
  readonly shape: PickedShape;
  /** The first version with this shape that the program reads. */
  readonly since: string;
}

/** The programs for OpenSSL, oldest first. */
const opensslPrograms: readonly Program[] = [
  { name: "tls_openssl_1_0", shape: "pointer", since: "1.0.0" },
  { name: "tls_openssl_1_1", shape: "pointer", since: "1.1.1" },
  { name: "tls_openssl_3_0", shape: "embedded", since: "3.0.0" },
  { name: "tls_openssl_3_2", shape: "connection", since: "3.2.0" },
];
/** The program of a library of which every version is read by one. */
const onlyPrograms: Readonly<Record<string, { readonly name: string; readonly why: string }>> = {
  boringssl: { name: "tls_boringssl", why: "the library is BoringSSL" },
  gnutls: { name: "tls_gnutls", why: "the library is GnuTLS" },
};
const KERNEL_PROGRAM = "socket_reader";

/** Every program that constants are written into, of both kernel classes: names of embedded objects without `.o`. */
export const bakedObjects: readonly string[] = [
  KERNEL_PROGRAM,
  ...opensslPrograms.map(({ name }) => name),
  ...Object.values(onlyPrograms).map(({ name }) => name),
].flatMap((program) => classes.map(({ suffix }) => `${program}${suffix}`));

/** The kind of subject whose constants an object takes. */
export const subjectOf = (name: string): "kernel" | "tls" => (name.startsWith("tls_") ? "tls" : "kernel");

/** The name of an embedded object without its ending, or null where none serves; and why. */
export interface Pick {
  readonly bytecode: string | null;
  readonly bytecode_reason: string;
}

/** What a pick rests on. */
export interface PickedFor {
  readonly library: string;
  readonly version: string | null;
  /** Its constants, as the document has them. */
  readonly constants: Readonly<Record<string, number | null>>;
}

/**
 * The object that reads a library's connections on a kernel. What was measured of the library goes before its version:
 * that alone does not fix the layout.
 */
export function pickTls(library: PickedFor, kernel: KernelVersion, choice: KernelClass): Pick {
  const { bytecode: program, bytecode_reason: why } = programFor(library);
  return program === null ? { bytecode: null, bytecode_reason: why } : onKernel(program, why, kernel, choice);
}

/** Why an object that a person chose does not read a library's connections; null where nothing speaks against it. */
export function misfitOf(name: string, library: PickedFor): string | null {
  const { bytecode: right, bytecode_reason: why } = programFor(library);
  if (right === null || shapeRead(name) === shapeRead(right)) return null;
  return `${name} does not read this library's connections, ${right} does: ${why}`;
}

/** How the connections are held that an object reads: by their shape, or by the one program that reads them. */
function shapeRead(name: string): string {
  const program = name.replace(/_old$/, "");
  return opensslPrograms.find((one) => one.name === program)?.shape ?? program;
}

/** The object that reads sockets on a kernel. */
export const pickSocketReader = (kernel: KernelVersion, choice: KernelClass): Pick =>
  onKernel(KERNEL_PROGRAM, "sockets are read", kernel, choice);

function onKernel(program: string, because: string, kernel: KernelVersion, choice: KernelClass): Pick {
  const { suffix, why } = classOf(kernel, choice);
  const kernelWhy = choice === "auto" ? why : `${choice} is asked for`;
  return { bytecode: `${program}${suffix}`, bytecode_reason: `${because}; ${kernelWhy}` };
}

const picked = (bytecode: string | null, bytecode_reason: string): Pick => ({ bytecode, bytecode_reason });

function programFor({ library, version, constants }: PickedFor): Pick {
  const only = onlyPrograms[library];
  if (only !== undefined) return picked(only.name, only.why);
  if (library !== "openssl") return picked(null, `no program reads connections of library ${library}`);
  const shape = shapeOf(constants);
  const release = version === null ? null : parseRelease(version);
  if (shape === null && release === null)
    return picked(null, "neither the version nor the shape of its structs is known");
  const candidates = opensslPrograms.filter((program) => shape === null || program.shape === shape);
  const inTime = candidates.filter(({ since }) => {
    const first = parseRelease(since);
    return release === null || (first !== null && compareReleases(first, release) <= 0);
  });
  // A library may have a shape that its version should not have. Then the oldest program of that shape serves, which expects least.
  const program = inTime.at(-1) ?? (shape === null ? undefined : candidates[0]);
  if (program === undefined) return picked(null, `no program reads connections of OpenSSL ${version}`);
  return picked(program.name, shape === null ? `by its version ${version} alone` : shapes[shape].why);
}

/** The shape that the known constants tell; null where none of those that tell it is known. */
function shapeOf(constants: PickedFor["constants"]): PickedShape | null {
  const known = Object.keys(constants).filter((name) => constants[name] !== null);
  for (const shape of ["connection", "embedded", "pointer"] as const)
    if (known.some((name) => shapes[shape].constants.test(name))) return shape;
  return null;
}
