import { ptr } from "bun:ffi";
import { describe, expect, test } from "bun:test";
import { join } from "node:path";
import * as v from "valibot";
import { MissingFunctionError } from "../../../ffi/calls.ts";
import { OwnMemory } from "../../../ffi/memory.ts";
import { host } from "../../../src/offsets/values.ts";
import { boundsOf, type KnownLibrary, knownLibraries, mostBytes } from "../../../src/tls/layouts/layouts.ts";
import { withoutVectorLength } from "../../../src/tls/layouts/vector.ts";
import { Attempts, asked, everything } from "../../../src/tls/probe/attempts.ts";
import { chainsTo, type Finding, Notes, oneOf, placesIn } from "../../../src/tls/probe/notes.ts";
import { s3Around } from "../../../src/tls/probe/openssl.ts";
import { answerSchema } from "../../../src/tls/probe/request.ts";
import {
  earlySecret,
  expandLabel,
  findHandshakeSecret,
  suiteDigest,
} from "../../../src/tls/probe/schedule.ts";
import { encodeSession } from "../../../src/tls/probe/session.ts";
import { cipherOf, firstMessage, legacyVersionOf, randomOf } from "../../../src/tls/probe/wire.ts";

const bytes = (hex: string): Uint8Array => new Uint8Array(Buffer.from(hex, "hex"));
const hex = (value: Uint8Array): string => Buffer.from(value).toString("hex");

/** RFC 8448, section 3: a handshake with its secrets. */
const rfc8448 = {
  early: "33ad0a1c607ec03b09e6cd9893680ce210adf300aa1f2660e1b22e10f170f92a",
  handshake: "1dc826e93606aa6fdc0aadc12f741b01046aa6b99f691ed221a9f0ca043fbeac",
  hellos: "860c06edc07858ee8e78f0e7428c58edd6b43f2ca3e6e95f02ed063cf0e1cad8",
  clientTraffic: "b3eddb126e067f35a780b3abf45e2d8f3b1a950738f52e9600746a0e27a55a21",
};

describe("the key schedule", () => {
  test("as RFC 8448 has it", () => {
    expect(hex(earlySecret("sha256"))).toBe(rfc8448.early);
    const derived = expandLabel("sha256", bytes(rfc8448.handshake), "c hs traffic", bytes(rfc8448.hellos));
    expect(hex(derived)).toBe(rfc8448.clientTraffic);
  });

  const find = (memory: Uint8Array) =>
    findHandshakeSecret(memory, "sha256", bytes(rfc8448.clientTraffic), bytes(rfc8448.hellos));

  test.each([0, 1, 37, 200 - 32])("the handshake secret is found at %p", (at) => {
    const memory = new Uint8Array(200).fill(0xa5);
    memory.set(bytes(rfc8448.handshake), at);
    expect(hex(find(memory) ?? new Uint8Array())).toBe(rfc8448.handshake);
  });

  test("not where a bit of it differs, nor cut, nor in what is too short", () => {
    const memory = new Uint8Array(200).fill(0xa5);
    memory.set(bytes(rfc8448.handshake), 40);
    memory[71] = (memory[71] ?? 0) ^ 1;
    expect(find(memory)).toBeNull();
    expect(find(bytes(rfc8448.handshake).subarray(1))).toBeNull();
    expect(find(new Uint8Array())).toBeNull();
  });
});

describe("flights on the wire", () => {
  const hello = `0100002b0303${"ab".repeat(32)}${"00".repeat(9)}`; // 4 + 43 bytes
  const record = (content: string, type = 22) =>
    bytes(
      `${type.toString(16).padStart(2, "0")}0301${(content.length / 2).toString(16).padStart(4, "0")}${content}`,
    );

  test("the first message, its version and random", () => {
    const message = firstMessage(Buffer.concat([record(`${hello}0e000000`), record("aabb")]));
    expect(hex(message)).toBe(hello);
    expect(hex(randomOf(message))).toBe("ab".repeat(32));
    expect(legacyVersionOf(message)).toBe(0x0303);
  });

  test("the cipher suite that a server chose, behind its session id", () => {
    for (const session of ["", "cd".repeat(32)]) {
      const length = (session.length / 2).toString(16).padStart(2, "0");
      expect(cipherOf(bytes(`020000000303${"ab".repeat(32)}${length}${session}130200`))).toBe(0x1302);
    }
    expect([0x1301, 0x1302, 0x1303, 0xc02b].map(suiteDigest)).toEqual([
      "sha256",
      "sha384",
      "sha256",
      undefined,
    ]);
  });

  test("what begins otherwise, or is cut, is refused", () => {
    expect(() => firstMessage(record(hello, 21))).toThrow("no handshake record");
    expect(() => firstMessage(record(hello.slice(0, 60)))).toThrow("more than one record");
    expect(() => firstMessage(new Uint8Array())).toThrow(RangeError);
    expect(() => firstMessage(bytes("16030100"))).toThrow(RangeError);
  });
});

test("a session of ours is what openssl reads", () => {
  const key = bytes("11".repeat(21));
  const der = encodeSession(0xc02b, bytes("22".repeat(32)), key);
  const { stdout, stderr } = Bun.spawnSync(["openssl", "sess_id", "-inform", "DER", "-text", "-noout"], {
    stdin: der,
  });
  expect(stderr.toString()).toBe("");
  const text = stdout.toString();
  expect(text).toContain("Protocol  : TLSv1.2");
  expect(text).toContain("Cipher    : ECDHE-ECDSA-AES128-GCM-SHA256");
  expect(text).toContain(`Session-ID: ${"22".repeat(32)}`);
  expect(text).toContain(`Master-Key: ${"11".repeat(21)}`);
});

describe("a struct behind a pointer", () => {
  /** Blocks that stay where they are: the first of them lead to the second. */
  const blocks: Uint8Array[] = [];
  function pair(value: number, at: number): { bytes: Uint8Array; value: Uint8Array } {
    const secret = new Uint8Array(16).fill(value);
    const target = new Uint8Array(256).fill(0xee);
    target.set(secret, at);
    const outer = new Uint8Array(64);
    const view = new DataView(outer.buffer);
    view.setBigUint64(24, BigInt(ptr(target)), true);
    view.setBigUint64(32, 0x10n, true); // leads nowhere
    view.setBigUint64(40, 0xffff_8000_0000_0000n, true); // of the kernel's half
    blocks.push(outer, target);
    return { bytes: outer, value: secret };
  }

  test("is where every instance's pointer leads to its value, at one place", () => {
    const size = () => 256;
    const same = [pair(1, 72), pair(2, 72)];
    expect(chainsTo(same, new OwnMemory(), size)).toEqual([{ first: 24, second: 72 }]);
    expect(chainsTo([pair(3, 72), pair(4, 80)], new OwnMemory(), size)).toEqual([]);
    expect(chainsTo(same, new OwnMemory(), () => 0)).toEqual([]);
    // No instance is none that holds it.
    expect(chainsTo([], new OwnMemory(), size)).toEqual([]);
    // One value alone proves nothing.
    expect(chainsTo(same.slice(0, 1), new OwnMemory(), size)).toEqual([]);
  });

  test("a block that holds it twice leads there too: no other pointer is the only one then", () => {
    const twice = [pair(1, 72), pair(2, 72)].map(({ bytes, value }, index) => {
      blocks[blocks.length - 3 + 2 * index]?.set(value, 120);
      return { bytes, value };
    });
    expect(chainsTo(twice, new OwnMemory(), () => 256)).toEqual([
      { first: 24, second: 72 },
      { first: 24, second: 120 },
    ]);
  });

  test("no address is read that is not mapped", () => {
    const memory = new OwnMemory();
    for (const address of [0, 8, 0x7fff_ffff_f000, 2 ** 52, Number.MAX_SAFE_INTEGER])
      expect([memory.readable(address), memory.copy(address, 8).length, memory.chunkSize(address)]).toEqual([
        0, 0, 0,
      ]);
  });
});

describe("where ssl3_state_st begins", () => {
  const ends = [1, 2].map((seed) => {
    const bytes = new Uint8Array(512).fill(0xee);
    const serverRandom = new Uint8Array(32).fill(seed);
    bytes.set(serverRandom, 200);
    return { bytes, serverRandom };
  });
  const around = (at: number) => s3Around("SSL_ST_S3", "ssl_st", at, ends);

  test("is known where client_random follows server_random", () => {
    expect(around(232)).toEqual({ constant: "SSL_ST_S3", candidates: [232 - 0xb8] });
  });

  test("is not where another member is in front of it", () => {
    const reason = "server_random is not where it is known to be";
    for (const at of [0, 231, 233, 264])
      expect(around(at)).toEqual({ constant: "SSL_ST_S3", candidates: [], reason });
  });
});

describe("the child's answer", () => {
  const isTaken = async (library: KnownLibrary, ...constants: readonly string[]) => {
    const answer = constants.map((constant) => ({ constant, candidates: [8] }));
    return v.safeParse(answerSchema(await boundsOf(library)), answer).success;
  };

  test("names only offsets within the struct, and each that is true of a real library", async () => {
    for (const file of new Bun.Glob("*.json").scanSync(join(import.meta.dir, "../../truth"))) {
      const library = knownLibraries.find((one) => file.startsWith(one)) ?? "openssl";
      const { figures } = await Bun.file(join(import.meta.dir, "../../truth", file)).json();
      for (const [member, offset] of Object.entries<number>(figures)) {
        const most = mostBytes[member.split(".")[0] ?? ""];
        if (most !== undefined) expect([file, member, 2 * offset <= most]).toEqual([file, member, true]);
      }
      for (const [constant, most] of await boundsOf(library)) {
        const takes = async (...candidates: number[]) =>
          v.safeParse(answerSchema(await boundsOf(library)), [{ constant, candidates }]).success;
        expect([constant, most > 0, await takes(most - 1), await takes(0, most)]).toEqual([
          constant,
          true,
          true,
          false,
        ]);
      }
    }
  });

  test("may name what its library can have, once each, and nothing else", async () => {
    expect(await isTaken("openssl", "SSL_ST_RBIO", "SSL_CTX_ST_KEYLOG_CALLBACK")).toBe(true);
    expect(await isTaken("boringssl", "SSL_ST_RBIO", "BSSL__SSL3_STATE_HS")).toBe(true);
    for (const name of ["PATH", "IFS", "offset_daddr", "SSL_ST_RBIO_", "__proto__", "toString", ""])
      expect([name, await isTaken("openssl", name)]).toEqual([name, false]);
    expect(await isTaken("openssl", "BSSL__SSL3_STATE_HS")).toBe(false);
    expect(await isTaken("boringssl", "SSL_CONNECTION_ST_RBIO")).toBe(false);
    expect(await isTaken("openssl", "SSL_ST_RBIO", "SSL_ST_RBIO")).toBe(false);
    // Nor where it says no number of it.
    const bounds = await boundsOf("openssl");
    const empty = [{ constant: "PATH", candidates: [], reason: "a reason" }];
    expect(v.safeParse(answerSchema(bounds), empty).success).toBe(false);
  });
});

describe("a function that the library lacks", () => {
  const lacking = (): never => {
    throw new MissingFunctionError("SSL_version");
  };

  test("leaves open what it alone tells, with the reason, and nothing else", () => {
    const notes = new Notes({ VERSION: { width: 2, align: 2 }, RBIO: { width: 8, align: 8 } });
    for (const value of [0x1111, 0x2222]) {
      const struct = new Uint8Array(16);
      new DataView(struct.buffer).setBigUint64(8, BigInt(value), true);
      notes.add(struct, { VERSION: lacking, RBIO: () => host(8, value) });
    }
    expect([...notes.solve()]).toEqual([
      ["VERSION", { is: "open", reason: "it has no SSL_version" }],
      ["RBIO", { is: "solved", offset: 8 }],
    ]);
  });

  test("ends its own step", () => {
    const attempts = new Attempts();
    let isDone = false;
    attempts.try(["A", "B"], lacking);
    attempts.try(["C"], () => {
      isDone = true;
    });
    expect(isDone).toBe(true);
    const none = { candidates: [], reason: "never observed" };
    const findings: readonly Finding[] = attempts.explain([
      { constant: "A", ...none },
      { constant: "B", candidates: [8] } satisfies Finding,
      { constant: "C", ...none },
    ]);
    expect(findings.map(({ reason }) => reason)).toEqual([
      "it has no SSL_version",
      undefined,
      "never observed",
    ]);
    attempts.try([everything], lacking);
    expect(attempts.explain([{ constant: "C", ...none }])[0]?.reason).toBe("it has no SSL_version");
  });

  test("is told when its answer is wanted; any other error at once", () => {
    expect(asked(() => 7)()).toBe(7);
    expect(asked(lacking)).toThrow("it has no SSL_version");
    const broken = () => {
      throw new RangeError("the handshake did not come to its end");
    };
    expect(() => asked(broken)).toThrow("did not come to its end");
    expect(() => new Attempts().try(["A"], broken)).toThrow("did not come to its end");
  });
});

test("a struct is no longer than its shortest instance", () => {
  const notes = new Notes({ KEY: { width: 4, align: 1 } });
  for (const [length, value] of [
    [16, 0x01020304],
    [24, 0x05060708],
    [0, 0x090a0b0c],
  ] as const) {
    const struct = new Uint8Array(length);
    if (length > 0) new DataView(struct.buffer).setUint32(4, value, true);
    notes.add(struct, { KEY: host(4, value) });
  }
  // What lies behind the end of the first is no place that it left open.
  expect(notes.solve().get("KEY")).toEqual({ is: "solved", offset: 4 });
});

test("places are those of all instances; where there is none, there are none", () => {
  expect(placesIn([new Uint8Array(17), new Uint8Array(30)], 8)).toEqual([0, 8]);
  expect(placesIn([new Uint8Array(17), new Uint8Array()], 4)).toEqual([]);
  expect(placesIn([], 4)).toEqual([]);
});

test("the length of a secret that is a vector is no member secret_length", () => {
  const told = (length: number, secret: number): readonly Finding[] => [
    { constant: "SSL_SESSION_ST_SECRET_LENGTH", candidates: [length] },
    { constant: "SSL_SESSION_ST_SECRET", candidates: [secret] },
  ];
  // 2024-11 and later (InplaceVector<uint8_t, 48> at 10), Android 14, Android 13.
  expect(withoutVectorLength(told(58, 10))).toEqual([
    {
      constant: "SSL_SESSION_ST_SECRET_LENGTH",
      candidates: [],
      absent: true,
      reason: "the secret is a vector, which keeps its own length",
    },
    { constant: "SSL_SESSION_ST_SECRET", candidates: [10] },
  ]);
  for (const before of [told(10, 11), told(12, 16)]) expect(withoutVectorLength(before)).toEqual(before);
});

test("what is left of a constant: one, several or none, with the reason", () => {
  expect(oneOf("A", [8, 8])).toEqual({ constant: "A", candidates: [8] });
  expect(oneOf("A", [8, 16]).reason).toBe("several places hold what is expected");
  expect(oneOf("A", [])).toEqual({
    constant: "A",
    candidates: [],
    reason: "no place holds what is expected",
  });
  const notes = new Notes({ A: { width: 4, align: 4 } });
  expect(notes.solve().get("A")).toEqual({ is: "open", reason: "never observed" });
});
