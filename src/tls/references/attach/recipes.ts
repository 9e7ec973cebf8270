import type { KnownLibrary } from "../../layouts.ts";
import { keyLog } from "../boringssl.ts";
import { logFunction } from "../openssl.ts";
import type { Names, Subject } from "../subject.ts";
import type { Witnesses } from "../witnesses.ts";
import { boringsslAttach } from "./boringssl.ts";
import { logAttach } from "./log.ts";
import { opensslAttach } from "./openssl.ts";

/** How some of the functions are found that programs attach to. */
export interface AttachRecipe {
  readonly functions: readonly string[];
  readonly names: Names;
  readonly read: (subject: Subject, found: Witnesses) => void;
}

/** By library: where functions begin without symbols, by two witnesses each, as a member is found. */
export const attachRecipes: Readonly<Record<KnownLibrary, readonly AttachRecipe[]>> = {
  openssl: [logAttach("ssl_log_secret", logFunction), opensslAttach],
  boringssl: [logAttach("ssl_log_secret", keyLog), boringsslAttach],
  gnutls: [logAttach("_gnutls_call_keylog_func")],
};
