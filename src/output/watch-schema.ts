import * as v from "valibot";
import { tlsSchema } from "./document.ts";
import { formatVersion } from "./schema-parts.ts";

const watched = {
  format_version: v.literal(formatVersion),
  /** When it was seen, as RFC 3339 has it. */
  time: v.pipe(v.string(), v.regex(/^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z$/)),
};
/** Which file a line is of: keys as in `tls` of a document. `used_by`: the processes that execute it now. */
const watchedFile = {
  path: v.string(),
  root: v.optional(v.string()),
  build_id: v.nullable(v.string()),
  used_by: v.array(v.number()),
};

/** A line of what `offsetof tls --watch` prints. */
export const watchLineSchema = v.variant("event", [
  /** A file with a TLS library in it that no process used before. */
  v.strictObject({ ...watched, event: v.literal("used"), library: tlsSchema }),
  /** No process uses it any more. */
  v.strictObject({ ...watched, event: v.literal("unused"), ...watchedFile }),
  /** Another file lies at its path, or its content was replaced: `library` is what is there now, null where no TLS library is. */
  v.strictObject({
    ...watched,
    event: v.literal("replaced"),
    ...watchedFile,
    library: v.nullable(tlsSchema),
  }),
  /** All that was used at the start has been told; from now on what changes is. */
  v.strictObject({
    ...watched,
    event: v.literal("watching"),
    /** `process_events`: programs are looked at as they start and end; `polling`: all processes, in turn. */
    by: v.picklist(["process_events", "polling"]),
    reason: v.optional(v.string()),
  }),
]);
