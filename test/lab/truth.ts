import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { attempt, run } from "../../assets/build/run.ts";

/**
 * Byte offsets of `type.member` paths, e.g. `net.ns.inum`, `flowi4.uli.ports.sport` or
 * `nf_conn.tuplehash[1].tuple`, from the start of `struct type`, as two tools that are not ours tell
 * them: bpftool writes the BTF as C declarations, gcc lays the structs out and computes the offset.
 * `null`: this kernel has no such struct or member.
 *
 * @param btfFile raw BTF of a whole kernel, e.g. `/sys/kernel/btf/vmlinux`. Must be x86-64, like gcc.
 * @throws when bpftool or gcc cannot read the file; the message holds what they said.
 */
export async function truthOf(
  btfFile: string,
  members: readonly string[],
): Promise<Map<string, number | null>> {
  const folder = await mkdtemp(join(tmpdir(), "truth-"));
  try {
    await Bun.write(join(folder, "kernel.h"), await bpftoolHeader(btfFile));
    const known = await knownMembers(folder, members);
    const offsets = await compileAndRun(folder, known);
    return new Map(members.map((member) => [member, offsets.get(member) ?? null]));
  } finally {
    await rm(folder, { recursive: true });
  }
}

async function bpftoolHeader(btfFile: string): Promise<string> {
  const dump = await attempt(["bpftool", "btf", "dump", "file", btfFile, "format", "c"]);
  if (dump.status !== 0) throw new Error(`bpftool cannot read the BTF in ${btfFile}: ${dump.stderr}`);
  return dump.stdout;
}

/** The members gcc accepts. Each stands in a "file" of its own, so that an error names its member. */
async function knownMembers(folder: string, members: readonly string[]): Promise<string[]> {
  const check = await gcc(folder, program(members), ["-fsyntax-only"]);
  if (check.status === 0) return [...members];
  const unknown = new Set<string>();
  for (const [, place = "", message = ""] of check.stderr.matchAll(/^(\S+?):\d+:(?:\d+:)? error: (.*)$/gm)) {
    const member = members[Number(/^member-(\d+)$/.exec(place)?.[1])];
    if (member === undefined || !/has no member named|undefined type/.test(message))
      throw new Error(`gcc refuses bpftool's header: ${check.stderr}`);
    unknown.add(member);
  }
  if (unknown.size === 0) throw new Error(`gcc failed without a known reason: ${check.stderr}`);
  return members.filter((member) => !unknown.has(member));
}

async function compileAndRun(folder: string, members: readonly string[]): Promise<Map<string, number>> {
  const compiled = await gcc(folder, program(members), ["-o", join(folder, "offsets")]);
  if (compiled.status !== 0) throw new Error(`gcc refuses bpftool's header: ${compiled.stderr}`);
  const { stdout } = await run([join(folder, "offsets")]);
  const numbers = stdout.trimEnd().split("\n").map(Number);
  return new Map(members.map((member, index) => [member, numbers[index] ?? Number.NaN]));
}

function program(members: readonly string[]): string {
  const prints = members.map((path, index) => {
    const dot = path.indexOf(".");
    if (dot < 1) throw new Error(`${path} is not a path of the form type.member`);
    const offset = `__builtin_offsetof(struct ${path.slice(0, dot)}, ${path.slice(dot + 1)})`;
    return `# 1 "member-${index}"\nprintf("%lu\\n", ${offset});\n`;
  });
  return `#include "kernel.h"
int printf(const char *, ...);
int main(void) {
${prints.join("")}return 0;
}
`;
}

/** gnu11: bpftool declares `bool` itself, which later C standards refuse. */
function gcc(folder: string, source: string, options: readonly string[]) {
  const command = ["gcc", "-std=gnu11", "-w", "-I", folder, "-x", "c", "-", ...options];
  return attempt(command, { stdin: new TextEncoder().encode(source) });
}
