import { type Earlier, earlierOf } from "../../../src/output/earlier.ts";

type Field = readonly [value: number | null, status: string, reason?: string];

const subject = (fields: Readonly<Record<string, Field>>) => ({
  constants: Object.fromEntries(Object.entries(fields).map(([name, [value]]) => [name, value])),
  fields: Object.fromEntries(
    Object.entries(fields).map(([name, [value, status, reason]]) => [
      name,
      { value, status, member: `type.${name}`, evidence: {}, ...(reason === undefined ? {} : { reason }) },
    ]),
  ),
});

/** A library as a document has it. */
export const library = (
  path: string,
  build_id: string | null,
  fields: Readonly<Record<string, Field>>,
  more: object = {},
) => ({ path, build_id, library: "openssl", version: "3.0.1", match: "exact", ...subject(fields), ...more });

/** A document of a machine with this kernel, and perhaps libraries. */
export const machine = (
  release: string,
  kernel: Readonly<Record<string, Field>> | null,
  tls?: readonly object[],
  arch = "x64",
): Earlier =>
  earlierOf({
    format_version: "2.0",
    tool: { arch },
    host: { kernel: { release, version: [6, 1, 0] } },
    ...(kernel && { kernel: { bytecode: "socket_guess", ...subject(kernel) } }),
    ...(tls && { tls }),
  });
