import { OwnMemory } from "../../../ffi/memory.ts";
import type { BioKind, TlsLibrary } from "../../../ffi/openssl.ts";
import { host } from "../../offsets/values.ts";
import { randomInt } from "../../self/random.ts";
import type { Attempts } from "./attempts.ts";
import type { HandshakePair } from "./handshake.ts";
import { address, type Finding, findingsOf, intShape, Notes, pointerShape } from "./notes.ts";

/** Bytes of structs that lie in the library's own data, where no allocator tells how long they are. */
const CIPHER_SIZE = 64;
const METHOD_SIZE = 32;

/** The structs that OpenSSL and BoringSSL both have, and what public functions tell of them; and memory as it stands. */
export class SharedStructs {
  readonly #library: TlsLibrary;
  readonly #sizeOf: (at: number, memory: OwnMemory) => number;
  readonly #ciphers = new Notes({ SSL_CIPHER_ST_ID: intShape });
  readonly #bios = new Notes({ BIO_ST_NUM: intShape, BIO_ST_METHOD: pointerShape });
  readonly #methods = new Notes({ BIO_METHOD_ST_TYPE: intShape });
  readonly #contexts = new Notes({ SSL_CTX_ST_KEYLOG_CALLBACK: pointerShape });
  #memory = new OwnMemory();

  /** @param sizeOf bytes of the block that the library's allocator gave at an address */
  constructor(library: TlsLibrary, sizeOf: (at: number, memory: OwnMemory) => number) {
    this.#library = library;
    this.#sizeOf = sizeOf;
  }

  get memory(): OwnMemory {
    return this.#memory;
  }

  /** What is mapped now. Before a pointer is followed of which nobody knows where it leads. */
  refresh(): void {
    this.#memory = new OwnMemory();
  }

  /** A copy of what the library made. */
  block({ address: at }: { readonly address: number }): Uint8Array {
    return this.#owned(at, () => this.#sizeOf(at, this.#memory));
  }

  /**
   * A copy of what the library has, which is mapped for sure: the kernel is only asked where that is newer than the last answer,
   * as an answer takes longer than all else here.
   */
  #owned(at: number, size: () => number): Uint8Array {
    const bytes = this.#memory.copy(at, size());
    if (bytes.length > 0 && bytes.length === size()) return bytes;
    this.refresh();
    return this.#memory.copy(at, size());
  }

  /** @param cipher its address */
  noteCipher(cipher: number): void {
    const bytes = this.#owned(cipher, () => CIPHER_SIZE);
    this.#ciphers.add(bytes, { SSL_CIPHER_ST_ID: () => host(4, this.#library.cipherId(cipher)) });
  }

  /** Notes an SSL_CTX, in which the address of the key log's callback is known. */
  noteContext({ context, callback }: HandshakePair): void {
    this.#contexts.add(this.block(context), { SSL_CTX_ST_KEYLOG_CALLBACK: () => address(callback()) });
  }

  /** Makes BIOs of each kind that the library has, with numbers of our choice, and notes them and their methods. */
  noteBios(attempts: Attempts): void {
    for (let count = 0; count < 2; count++) {
      // No such descriptor is open, and none is touched.
      const number = randomInt(1 << 16, 1 << 30);
      for (const kind of this.#library.bioKinds(number))
        attempts.try(["BIO_ST_NUM", "BIO_ST_METHOD", "BIO_METHOD_ST_TYPE"], () =>
          this.#noteBio(kind, number),
        );
    }
  }

  #noteBio({ wraps, make, method }: BioKind, number: number): void {
    const bio = make();
    this.#bios.add(this.block(bio), {
      BIO_ST_NUM: wraps ? host(4, number) : undefined,
      BIO_ST_METHOD: () => address(method()),
    });
    const bytes = this.#owned(method(), () => METHOD_SIZE);
    this.#methods.add(bytes, {
      BIO_METHOD_ST_TYPE: () => host(4, bio.type),
    });
  }

  get notes(): readonly Notes[] {
    return [this.#ciphers, this.#bios, this.#methods, this.#contexts];
  }

  /** What all that was noted leaves of each constant. */
  findings(): readonly Finding[] {
    return this.notes.flatMap((notes) => findingsOf(notes));
  }
}
