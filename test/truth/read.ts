import { readFileSync } from "node:fs";
import { join } from "node:path";
import * as v from "valibot";

const schema = v.strictObject({ package: v.string(), figures: v.record(v.string(), v.number()) });

/**
 * What the headers of a real build say, by `type.member`, in bytes, the same for x86-64 and arm64: made by make.ts.
 * `sizeof_connection` is the size of the struct behind an `SSL *`.
 *
 * @param name of the file beside this one, such as `openssl-3.6.3`
 */
export function truthOf(name: string): Readonly<Record<string, number>> {
  const { figures } = v.parse(
    schema,
    JSON.parse(readFileSync(join(import.meta.dir, `${name}.json`), "utf8")),
  );
  const published = Object.entries(publishedNames).flatMap(([own, name]) => {
    const figure = figures[own];
    return figure === undefined ? [] : [[name, figure] as const];
  });
  return { ...figures, ...Object.fromEntries(published) };
}

/** Members that the published tables call as a server sees them. */
const publishedNames = {
  "bssl::SSL3_STATE.write_traffic_secret": "bssl::SSL3_STATE.server_traffic_secret_0",
  "bssl::SSL3_STATE.read_traffic_secret": "bssl::SSL3_STATE.client_traffic_secret_0",
};
