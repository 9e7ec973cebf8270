import * as v from "valibot";

/** Libraries that can be probed. */
export const probeLibraries = ["openssl", "boringssl"] as const;
export type ProbeLibrary = (typeof probeLibraries)[number];

/** What the child is asked. Its files are the libcrypto, where it is one of its own, and the library, in this order. */
export const requestSchema = v.strictObject({ library: v.picklist(probeLibraries) });

/**
 * What it answers: offsets and names alone, each name once. Bytes from the start of the type. Foreign code may have
 * written it, so that it has no word of its own.
 *
 * @param constants all that the library asked of can have
 */
export const answerSchema = (constants: readonly string[]) =>
  v.pipe(
    v.array(
      v.strictObject({
        constant: v.picklist(constants),
        candidates: v.pipe(
          v.array(v.pipe(v.number(), v.integer(), v.minValue(0), v.maxValue(65_535))),
          v.maxLength(64),
        ),
        reason: v.exactOptional(v.pipe(v.string(), v.maxLength(300))),
      }),
    ),
    v.check((all) => new Set(all.map(({ constant }) => constant)).size === all.length, "a constant twice"),
  );
