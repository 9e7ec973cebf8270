import * as v from "valibot";
import { knownLibraries } from "../layouts/layouts.ts";

/** Which of the child's files is the libcrypto; the last one is the library. */
const cryptoSchema = v.optional(v.pipe(v.number(), v.integer(), v.minValue(0)), 0);

/** What the child is asked: to measure the library, or to make sessions with it. */
export const requestSchema = v.strictObject({ library: v.picklist(knownLibraries), crypto: cryptoSchema });

/**
 * What it answers: offsets and names alone, each name once. Bytes from the start of the type. Foreign code may have
 * written it, so that it has no word of its own.
 *
 * @param bounds all that the library asked of can have, with the bytes of their structs
 */
export const answerSchema = (bounds: ReadonlyMap<string, number>) =>
  v.pipe(
    v.array(
      v.pipe(
        v.strictObject({
          constant: v.picklist([...bounds.keys()]),
          candidates: v.pipe(v.array(v.pipe(v.number(), v.integer(), v.minValue(0))), v.maxLength(64)),
          absent: v.exactOptional(v.literal(true)),
          reason: v.exactOptional(v.pipe(v.string(), v.maxLength(300))),
        }),
        v.check(
          ({ absent, candidates }) => absent !== true || candidates.length === 0,
          "absent at an offset",
        ),
        v.check(
          ({ constant, candidates }) => candidates.every((offset) => offset < (bounds.get(constant) ?? 0)),
          "an offset beyond its struct",
        ),
      ),
    ),
    v.check((all) => new Set(all.map(({ constant }) => constant)).size === all.length, "a constant twice"),
  );
