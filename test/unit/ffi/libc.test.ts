import { describe, expect, test } from "bun:test";
import { readFileSync, readlinkSync } from "node:fs";
import { Mapping, memoryFile, open } from "../../../ffi/descriptors.ts";
import { ClosedError, SystemError } from "../../../ffi/error.ts";
import { bind } from "../../../ffi/socket-calls.ts";
import { setThreadName, TASK_COMM_LEN, threadName } from "../../../ffi/thread.ts";

const openDescriptors = () =>
  [...new Bun.Glob("*").scanSync({ cwd: "/proc/self/fd", onlyFiles: false })].length;

describe("a failing call", () => {
  test("names the call, the errno and what to do", () => {
    const failing = () => bind(9999, new Uint8Array(16), "127.0.0.1:1");
    expect(failing).toThrow(SystemError);
    expect(failing).toThrow("bind 127.0.0.1:1: EBADF");
    expect(() => open("/no/such/file")).toThrow("open /no/such/file: ENOENT");
  });

  test("an errno that libc has no name for shows as its number", () => {
    expect(new SystemError("bpf", 524, "ask the kernel").message).toBe("bpf: errno 524; ask the kernel");
  });
});

describe("a descriptor", () => {
  test("is closed with its scope, once, and used afterwards it throws", () => {
    const before = openDescriptors();
    const file = open("/proc/self/status");
    expect(openDescriptors()).toBe(before + 1);
    file[Symbol.dispose]();
    file[Symbol.dispose]();
    expect(openDescriptors()).toBe(before);
    expect(() => file.fd).toThrow(ClosedError);
    expect(() => file.fd).toThrow("/proc/self/status was used after it had been closed");
  });
});

describe("a file in memory", () => {
  const bytes = crypto.getRandomValues(new Uint8Array(65_536)).map((byte) => byte | 1);

  test("holds the bytes, has no name in a file system and is closed on exec", () => {
    using file = memoryFile("some.so", bytes);
    expect(readlinkSync(`/proc/self/fd/${file.fd}`)).toBe("/memfd:some.so (deleted)");
    const seen = Bun.spawnSync([
      "sh",
      "-c",
      `ls -l /proc/$$/fd; sha256sum </proc/${process.pid}/fd/${file.fd}`,
    ]);
    expect(seen.stdout.toString()).not.toContain("some.so");
    expect(seen.stdout.toString()).toContain(new Bun.CryptoHasher("sha256").update(bytes).digest("hex"));
  });

  test("a mapping of it copies and writes, and throws once it is gone", () => {
    using file = memoryFile("shared", bytes);
    const mapping = new Mapping(file.fd, bytes.length, "shared");
    expect(mapping.copy(100, 50)).toEqual(bytes.slice(100, 150));
    mapping.write(7, Uint8Array.of(1, 2, 3));
    using again = new Mapping(file.fd, bytes.length, "shared");
    expect([...again.copy(7, 3)]).toEqual([1, 2, 3]);
    mapping[Symbol.dispose]();
    mapping[Symbol.dispose]();
    expect(() => mapping.copy(0, 1)).toThrow(ClosedError);
  });
});

test("the thread's name is what the kernel shows of it", () => {
  const before = threadName();
  const name = new Uint8Array(TASK_COMM_LEN);
  name.set(new TextEncoder().encode("fifteen-letters"));
  setThreadName(name);
  expect(readFileSync("/proc/thread-self/comm", "utf8")).toBe("fifteen-letters\n");
  setThreadName(before);
  expect(threadName()).toEqual(before);
});
