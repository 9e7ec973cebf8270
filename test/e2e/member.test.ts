import { expect, test } from "bun:test";
import { documentOf, errorOf, executable, run } from "./executable.ts";

/** What pahole prints of a member: its offset in bytes, of a bit-field its bit and width too. */
function truthOf(type: string, member: string): string {
  const line = run(["pahole", "-C", type, "/sys/kernel/btf/vmlinux"])
    .stdout.split("\n")
    .find((each) => new RegExp(`\\b${member}(\\[\\d+\\])*(:\\d+)?;`).test(each));
  const [, offset = "", bit, width] = /\/\*\s+(\d+)(?::\s*(\d+))?\s+(\d+)\s+\*\//.exec(line ?? "") ?? [];
  return bit === undefined ? offset : `${offset} ${bit} ${/:(\d+);/.exec(line ?? "")?.[1] ?? width}`;
}

const kernelOf = (...args: string[]) => documentOf(run([executable, "kernel", ...args])).kernel;

test("any member of the kernel's types has its offset, as pahole prints it, alone and without a guess", () => {
  const kernel = kernelOf("--member", "task_struct.pid,mm_struct.exe_file,sizeof:task_struct");
  expect(kernel?.constants).toEqual({
    task_struct_pid: Number(truthOf("task_struct", "pid")),
    mm_struct_exe_file: Number(run([executable, "kernel", "--get", "mm_struct.exe_file"]).stdout),
    sizeof_task_struct: Number(/\/\* size: (\d+)/.exec(run(["pahole", "-C", "task_struct"]).stdout)?.[1]),
  });
  expect(kernel?.fields.task_struct_pid).toMatchObject({ member: "task_struct.pid", status: "single" });
  expect(kernel?.attached).toEqual([]);
});

test("a bit-field has the byte that it begins in, its bit, and its width", () => {
  const { constants } = kernelOf("--member", "iphdr.version") ?? {};
  const [byte, bit, width] = truthOf("iphdr", "version").split(" ").map(Number);
  expect(constants).toEqual({
    iphdr_version: byte ?? -1,
    iphdr_version_bit_offset: bit ?? -1,
    iphdr_version_bit_size: width ?? -1,
  });
});

test("a member that a row of ours measures is guessed too, and stands beside what --only chose", () => {
  const kernel = kernelOf("--member", "tcp_sock.srtt_us", "--only", "offset_rtt");
  expect(kernel?.constants.tcp_sock_srtt_us).toBe(kernel?.constants.offset_rtt ?? -1);
  expect(kernel?.fields.tcp_sock_srtt_us?.evidence).toEqual(kernel?.fields.offset_rtt?.evidence ?? {});
});

test("a name that there is not is null, with one that is near, and the exit code says so", () => {
  const result = run([executable, "kernel", "--member", "tcp_sock.srt_us,tcp_sok.x"]);
  expect(result.status).toBe(3);
  const { fields } = documentOf(result).kernel ?? {};
  expect(fields?.tcp_sock_srt_us?.reason).toBe('btf: tcp_sock has no member srt_us, did you mean "srtt_us"?');
  expect(fields?.tcp_sok_x?.reason).toBe('btf: no struct or union tcp_sok, did you mean "tcp_sock"?');
});

test.each([
  ["iphdr", "is no member"],
  ["a.b.c,a_b.c", "a.b.c and a_b.c would both be a_b_c"],
  ["offset.rtt", "is a constant of another meaning"],
])("%s is wrong usage", (member, message) => {
  const result = run([executable, "kernel", "--member", member]);
  expect([result.status, result.stdout]).toEqual([2, ""]);
  expect(errorOf(result).message).toContain(message);
});
