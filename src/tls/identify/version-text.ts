import { usage } from "../../output/failure.ts";
import { libraries as everyLibrary } from "../../output/schema-parts.ts";
import type { Identity } from "./identify.ts";

const libraries = everyLibrary.filter((one) => one !== "unknown");
/** What `openssl version` prints behind the version: a date, and the library's own text where it differs. */
const dateBehind = / {1,2}\d{1,2} [A-Z][a-z]{2} \d{4}.*$/;

/**
 * A version as the user names it, `openssl 3.0.12`, or the line that `openssl version` prints.
 * @throws Failure of wrong usage that says which form is meant
 */
export function identityNamed(text: string): Identity {
  const [, name = "", rest = ""] =
    /^([a-z-]+) +(\S.{0,99})$/i.exec(text.replace(dateBehind, "").trim()) ?? [];
  const library = libraries.find((one) => one === name.toLowerCase());
  if (library === undefined) {
    const message = `--version-text cannot be ${JSON.stringify(text.slice(0, 99))}: a library (${libraries.join(", ")}) and its version, such as "openssl 3.0.12"`;
    throw usage(message);
  }
  return { library, version: rest, versionFrom: "--version-text" };
}
