import { isCertain } from "../offsets/truth.ts";
import type { Document, KernelReport, TlsReport } from "./document.ts";
import { Failure } from "./failure.ts";
import { printable } from "./printable.ts";
import { several } from "./selection.ts";

/**
 * The document as a C header: a macro for each constant that has a value, below a comment with its member. What has
 * none gets no macro, so that code which needs it does not compile. There is no include guard: C takes the same
 * definition twice, and a compiler tells of two that differ.
 *
 * Macros of the kernel are named as its constants are, which is what bpf/constants.h asks for, and in capitals too.
 * Macros of TLS libraries are eCapture's, in its order and notation, and the header serves in place of the definitions
 * at the beginning of a `*_kern.c` of it.
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

function tlsLines({ path, library, version, layout, build_id: buildId, fields }: TlsReport): string[] {
  const facts = [path, `${library} ${version ?? "of unknown version"}`, layout, buildId];
  return [
    comment(facts.filter((fact) => fact !== null).join(", ")),
    ...Object.entries(fields).flatMap(([constant, field]) =>
      macro(constant, field.member.replace(".", "->"), field, (value) => `0x${value.toString(16)}`),
    ),
  ];
}

function macro(
  name: string,
  member: string,
  field: KernelReport["fields"][string],
  written: (value: number) => string,
): string[] {
  const { value, status, reason = "" } = field;
  const definition =
    value === null
      ? comment(`${name} is not known: ${reason}`)
      : isCertain(field)
        ? `#define ${name} ${written(value)}`
        : `${comment(`${status}: ${reason}`)}\n#define ${name} ${written(value)}`;
  return ["", comment(member), definition];
}

/** A line of comment. A backslash at its end, or the trigraph of one, would take the next line in. */
const comment = (text: string): string => `// ${printable(text)}`.replace(/(?:\\|\?\?\/)\s*$/, "$&.");
