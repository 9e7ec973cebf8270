import * as v from "valibot";

/** Libraries that can be probed. */
export const probeLibraries = ["openssl", "boringssl"] as const;
export type ProbeLibrary = (typeof probeLibraries)[number];

/** What the child is asked. Its files are the libcrypto, where it is one of its own, and the library, in this order. */
export const requestSchema = v.strictObject({ library: v.picklist(probeLibraries) });

/** What it answers: offsets and names alone. Bytes from the start of the type. */
export const answerSchema = v.pipe(
  v.array(
    v.strictObject({
      constant: v.pipe(v.string(), v.regex(/^[A-Z][A-Z0-9_]{1,79}$/)),
      candidates: v.pipe(
        v.array(v.pipe(v.number(), v.integer(), v.minValue(0), v.maxValue(65_535))),
        v.maxLength(64),
      ),
      reason: v.exactOptional(v.pipe(v.string(), v.maxLength(300))),
    }),
  ),
  v.maxLength(100),
);
