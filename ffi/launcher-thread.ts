import { linkSymbols, type Pointer, ptr, read } from "bun:ffi";
import { SystemError } from "./error.ts";
import { globalSymbol } from "./library.ts";

/** Where the executable has the launcher (assets/build/universal.ts); not there where Bun runs the sources, or is its own launcher. */
declare const LAUNCHER: number | undefined;

/** Bytes: struct config of assets/build/launcher/launcher.h. */
const CONFIG = { watch: 128 } as const;
/** struct watch, in 64-bit words. */
const WATCH = { seconds: 1, nanoseconds: 2, told: 3, where: 4, whereLength: 5, words: 6 } as const;
/** struct told, in 64-bit words; its bytes follow. */
const TOLD = { next: 0, length: 1, words: 2 } as const;

/** Watches a run without this runtime, which takes a tenth of a short run to begin a thread of its own. */
export interface NativeWatch {
  /** Two words. The first is 0 while the run goes on: who changes that has the last word. The second is nobody's. */
  readonly state: Int32Array<SharedArrayBuffer>;
  /** Adds a line to what src/late.ts reads. */
  readonly tell: (line: string) => void;
}

/**
 * Has a thread of the launcher's wait for a time; then what was told is printed by this program, started anew with `@late`.
 *
 * @param milliseconds from now on
 * @param where memory that goes before what was told
 * @returns null where there is no launcher @throws SystemError where no thread can be started
 */
export function watchNatively(milliseconds: number, where: SharedArrayBuffer): NativeWatch | null {
  if (typeof LAUNCHER !== "number") return null;
  const memory = new SharedArrayBuffer(WATCH.words * 8);
  const words = new BigUint64Array(memory);
  words[WATCH.seconds] = BigInt(Math.floor(milliseconds / 1000));
  words[WATCH.nanoseconds] = BigInt(Math.floor((milliseconds % 1000) * 1e6));
  words[WATCH.where] = BigInt(ptr(new Uint8Array(where)));
  words[WATCH.whereLength] = BigInt(where.byteLength);
  kept.push(memory, where);
  let last: { words: BigUint64Array; next: number } = { words, next: WATCH.told };
  const begin = LAUNCHER + Number(read.u64(LAUNCHER as Pointer, CONFIG.watch));
  startThread(begin as Pointer, ptr(new Uint8Array(memory)));
  return {
    state: new Int32Array(memory),
    tell: (line) => {
      const bytes = Buffer.from(`${line}\n`);
      const node = new ArrayBuffer(TOLD.words * 8 + bytes.length);
      new Uint8Array(node).set(bytes, TOLD.words * 8);
      const head = new BigUint64Array(node, 0, TOLD.words);
      head[TOLD.length] = BigInt(bytes.length);
      kept.push(node);
      // The thread may read it from here on.
      last.words[last.next] = BigInt(ptr(new Uint8Array(node)));
      last = { words: head, next: TOLD.next };
    },
  };
}

/** Has a thread begin at a function of native code. @throws SystemError */
function startThread(begin: Pointer, argument: Pointer): void {
  // Before glibc 2.34 it is none of the C library's own file.
  const address = globalSymbol("pthread_create");
  if (address === null) throw new Error("the C library has no pthread_create");
  const { symbols } = linkSymbols({
    create: { ptr: address, args: ["ptr", "ptr", "ptr", "ptr"], returns: "i32" },
  });
  const errno = symbols.create(new BigUint64Array(1), null, begin, argument);
  if (errno !== 0) throw new SystemError("pthread_create", errno);
}

/** What the thread reads lives as long as this process. */
const kept: unknown[] = [];
