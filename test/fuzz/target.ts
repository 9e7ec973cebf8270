import { mkdirSync, readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { isDeepStrictEqual } from "node:util";
import { ClosedError, NoJitError, SystemError } from "../../ffi/error.ts";
import { BakeError } from "../../src/bytecode/object.ts";
import { MetadataError } from "../../src/gateway/metadata.ts";
import { UntrustedError } from "../../src/host/trusted.ts";
import { InputError } from "../../src/input/input.ts";
import { JsonError } from "../../src/input/strict-json.ts";
import { NetlinkError } from "../../src/net/netlink.ts";
import { Failure } from "../../src/output/failure.ts";
import type { Mutated, Sample } from "./mutate.ts";

/** What a reader is given. */
export interface Input extends Mutated {
  /** Index of the sample that it was made of. */
  readonly sample: number;
  /** Of some inputs another program is asked as well, which takes its time. */
  readonly isCompared: boolean;
}

/** A reader of bytes that come from outside. */
export interface Opened {
  readonly samples: readonly Sample[];
  /**
   * Reads an input; false where it was refused. Where it was not, the answer is held against what else is known of it.
   * @throws Wrong where the answer is wrong, one of our errors where the input is refused, and nothing else
   */
  readonly read: (input: Input) => boolean | Promise<boolean>;
}

/** A row of what is fuzzed. */
export interface Target {
  readonly name: string;
  /** What is read, for the table. */
  readonly what: string;
  /** Its part of all inputs, by the time that one takes. */
  readonly share: number;
  /** Another program is asked of one in so many. Default: never. */
  readonly compared?: number;
  /** @param folder for files, its own */
  readonly open: (folder: string) => Promise<Opened>;
}

/** The name of the input in errors. */
export const inputName = "the/input";

/** An answer that is not what the input says. */
export class Wrong extends Error {
  override readonly name = "Wrong";
}

/** Errors that say what was wrong with an input, as opposed to what the runtime throws for a mistake of ours. */
const ours = [
  InputError,
  BakeError,
  Failure,
  JsonError,
  NetlinkError,
  MetadataError,
  UntrustedError,
  SystemError,
] as const;
const defects = [ClosedError, NoJitError] as const;

/** Why an error is none that an input may be refused with; null where it is one. */
export function defectOf(error: unknown): string | null {
  if (error instanceof Wrong) return null;
  const isOurs = ours.some((kind) => error instanceof kind) && !defects.some((kind) => error instanceof kind);
  if (!isOurs) return error instanceof Error ? `${error.name}: ${error.message}` : String(error);
  if (error instanceof InputError && !(error.offset >= 0 && error.message.includes(error.path)))
    return `an error that tells no place: ${error.message}`;
  return null;
}

/** What `act` gives; null where it refuses. @throws Wrong, and what is no refusal */
export function unlessRefused<Value>(act: () => Value): Value | null {
  try {
    return act();
  } catch (error) {
    if (error instanceof Wrong || defectOf(error) !== null) throw error;
    return null;
  }
}

/** @throws Wrong where the two are not the same */
export function same(what: string, actual: unknown, expected: unknown): void {
  if (isDeepStrictEqual(actual, expected)) return;
  const text = (value: unknown): string => (Bun.inspect(value) ?? "").slice(0, 400);
  throw new Wrong(`${what} is ${text(actual)}, and should be ${text(expected)}`);
}

/** What a program prints; null where it fails, or complains of the input. */
export function printedBy(command: readonly string[]): string | null {
  const { exitCode, stdout, stderr } = Bun.spawnSync([...command], {
    env: { PATH: "/usr/sbin:/usr/bin:/sbin:/bin", LC_ALL: "C.UTF-8" },
    timeout: 60_000,
  });
  return exitCode === 0 && stderr.length === 0 ? stdout.toString() : null;
}

/** A small library as gcc builds it, of that source and with these flags. @returns its path */
export function buildLibrary(folder: string, name: string, source: string, ...flags: string[]): string {
  mkdirSync(folder, { recursive: true });
  const path = join(folder, name);
  writeFileSync(`${path}.c`, source);
  const command = ["gcc", "-shared", "-fPIC", "-O1", "-nostdlib", "-o", path, `${path}.c`, ...flags];
  const { success, stderr } = Bun.spawnSync(command);
  if (!success) throw new Error(stderr.toString());
  return path;
}

export const sampleOf = (path: string): Sample => ({ bytes: readFileSync(path) });
