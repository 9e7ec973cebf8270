import { isCertain } from "../offsets/truth.ts";
import type { Document, KernelReport, TlsReport } from "./document.ts";
import { Failure } from "./failure.ts";
import { printable } from "./printable.ts";
import { functionNumbers, several } from "./selection.ts";

/**
 * The document as a C header: a macro for each constant that has a value, below a comment with its member. What has
 * none gets no macro, so that code which needs it does not compile. There is no include guard: C takes the same
 * definition twice, and a compiler tells of two that differ.
 *
 * Macros of the kernel are named as its constants are, which is what bpf/constants.h asks for, and in capitals too.
 * Macros of TLS libraries are eCapture's, in its order and notation, and the header serves in place of the definitions
 * at the beginning of a `*_kern.c` of it: also of members that the library does not have, where eCapture defines a mark.
 * @throws Failure when the document holds several libraries, whose macros would be the same, or nothing at all
 */
export function toHeader({ tool, host, kernel, tls }: Document): string {
  const [library, ...others] = tls ?? [];
  if (others.length > 0) throw several("a header", tls ?? []);
  if (kernel === undefined && library === undefined) {
    throw new Failure(
      "E_TLS_NONE",
      'no TLS library was found, so there is nothing to put into a header: name one, "offsetof tls PATH"',
    );
  }
  const { release, machine } = host.kernel;
  const lines = [
    comment(`Made by ${tool.name} ${tool.version}.`),
    ...(kernel === undefined ? [] : kernelLines(kernel, `Linux ${release} (${machine})`)),
    ...(library === undefined ? [] : tlsLines(library)),
  ];
  return `${lines.join("\n")}\n`;
}

const kernelLines = ({ fields }: KernelReport, about: string): string[] => [
  comment(about),
  ...Object.entries(fields).flatMap(([constant, field]) => [
    ...macro(constant, field.member, field, (value) => String(value)),
    ...(field.value === null ? [] : [`#define ${constant.toUpperCase()} ${constant}`]),
  ]),
];

function tlsLines({
  path,
  library,
  version,
  layout,
  build_id: buildId,
  fields,
  functions,
}: TlsReport): string[] {
  const facts = [path, `${library} ${version ?? "of unknown version"}`, layout, buildId];
  return [
    comment(facts.filter((fact) => fact !== null).join(", ")),
    ...Object.entries(fields).flatMap(([constant, field]) =>
      library === "boringssl" && constant === flag && field.value !== null && !hasVectors(fields)
        ? [
            "",
            comment(
              `${field.member} is ${field.value}: no macro, which eCapture takes for Android 16's flag`,
            ),
          ]
        : macro(constant, field.member.replace(".", "->"), field, hex),
    ),
    ...Object.entries(functions).flatMap(([name, one]) => [
      "",
      comment(`${name}: address before relocation, and place in the file`),
      ...functionNumbers(name, one).flatMap(([constant, value]) =>
        definition(constant, { ...one, value }, hex),
      ),
    ]),
  ];
}

const hex = (value: number): string => `0x${value.toString(16)}`;

type Fields = TlsReport["fields"];

/** eCapture's flag of a BoringSSL that keeps secrets in vectors, as from Android 16 on (its boringssl_const.h). */
const flag = "SSL_SESSION_ST_SSL_VERSION";

/** Whether a BoringSSL keeps secrets in vectors: since then the version is not a member of the connection any more. */
const hasVectors = (fields: Fields): boolean =>
  fields.SSL_ST_VERSION?.status === "absent" || typeof fields.BSSL__SSL3_STATE_VERSION?.value === "number";

/**
 * What eCapture defines in the place of a member that a library does not have: of TLS 1.3 in 1.0.2 and 1.1.0 (its
 * openssl_1_0_2a_kern.c), and a length that is not asked for (boringssl_a_16_kern.c). It asks for no other by #ifdef.
 */
export const absentMarks: Readonly<Record<string, string>> = {
  SSL_ST_EARLY_SECRET: "0",
  SSL_ST_HANDSHAKE_SECRET: "0",
  SSL_ST_HANDSHAKE_TRAFFIC_HASH: "0",
  SSL_ST_CLIENT_APP_TRAFFIC_SECRET: "0",
  SSL_ST_SERVER_APP_TRAFFIC_SECRET: "0",
  SSL_ST_EXPORTER_MASTER_SECRET: "0",
  SSL_SESSION_ST_SECRET_LENGTH: "0xFF",
};

function macro(
  name: string,
  member: string,
  field: KernelReport["fields"][string],
  written: (value: number) => string,
): string[] {
  return ["", comment(member), ...definition(name, field, written)];
}

function definition(
  name: string,
  field: Pick<KernelReport["fields"][string], "value" | "status" | "reason">,
  written: (value: number) => string,
): string[] {
  const { value, status, reason = "" } = field;
  if (status === "absent") {
    const mark = absentMarks[name];
    return [
      comment(`${name} is absent: ${reason}`),
      ...(mark === undefined ? [] : [`#define ${name} ${mark}`]),
    ];
  }
  if (value === null) return [comment(`${name} is not known: ${reason}`)];
  const doubt = isCertain(field) ? [] : [comment(`${status}: ${reason}`)];
  return [...doubt, `#define ${name} ${written(value)}`];
}

/** A line of comment. A backslash at its end, or the trigraph of one, would take the next line in. */
const comment = (text: string): string => `// ${printable(text)}`.replace(/(?:\\|\?\?\/)\s*$/, "$&.");
