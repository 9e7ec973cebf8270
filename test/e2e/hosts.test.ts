import { beforeAll, expect, test } from "bun:test";
import { chmodSync, copyFileSync, mkdirSync } from "node:fs";
import { loadPackage } from "../../assets/build/debian.ts";
import { kernelFields } from "../../src/kernel/fields.ts";
import { documentOf, executable, run, Scratch } from "./executable.ts";

let glibc: string;

beforeAll(async () => {
  glibc = (await loadPackage("bullseye", "libc6")).root;
}, 120_000);

test("runs where there is nothing but glibc 2.31 and /proc", () => {
  using root = new Scratch();
  run(["cp", "-a", `${glibc}/.`, root.path]);
  copyFileSync(executable, root.at("offsetof"));
  mkdirSync(root.at("proc"));
  expect(run(["chroot", root.path, "/lib/x86_64-linux-gnu/libc.so.6"]).stdout).toContain("version 2.31");
  const inside = `mount -t proc proc ${root.at("proc")} && exec chroot ${root.path} /offsetof`;
  const document = documentOf(run(["unshare", "--mount", "sh", "-c", inside]));
  expect(document.host.kernel.release).toBe(run(["uname", "-r"]).stdout.trim());
  expect(document.host.btf).toBeNull();
});

test("an ordinary user gets the document without what needs privilege, and no stack trace", () => {
  using scratch = new Scratch();
  copyFileSync(executable, scratch.at("offsetof"));
  chmodSync(scratch.path, 0o755);
  const nobody = ["setpriv", "--reuid=65534", "--regid=65534", "--clear-groups"];
  const result = run([...nobody, scratch.at("offsetof"), "run", "--format", "json"]);
  const document = documentOf(result);
  expect(document.host).toMatchObject({ privileges: [], raw_tracepoints: false });
  for (const { constant } of kernelFields) {
    const field = document.kernel?.fields[constant];
    if (field === undefined) throw new Error(`the document has no ${constant}`);
    // What the kernel's own BTF tells needs no privilege.
    if (field.value !== null) expect(field.evidence).toEqual({ btf: [field.value] });
    else expect(field.reason).toBeString();
  }
  expect(result.status).toBe(3);
  expect(document.diagnostics.find(({ code }) => code === "E_NO_GUESS")?.message).toContain("CAP_BPF");
  expect(result.stderr).toBe("");
});
