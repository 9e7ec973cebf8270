/** docs/examples, built as they say with Debian's packages. */
import { join } from "node:path";
import { CachedFolder } from "../assets/build/cache.ts";
import { loadPackage } from "../assets/build/debian.ts";
import { compileEbpf } from "../assets/build/ebpf.ts";
import { architectures } from "../assets/build/paths.ts";
import { run } from "../assets/build/run.ts";

export const examples = join(import.meta.dir, "../docs/examples");

/** The object in C for eBPF, and the program for it that is linked with Debian's libbpf. Built on first use. */
export async function buildExamples(): Promise<{ readonly object: string; readonly program: string }> {
  const sources = ["connections.bpf.c", "connections.c"].map((name) => Bun.file(join(examples, name)).text());
  const hash = Bun.hash((await Promise.all(sources)).join()).toString(16);
  const cached = await CachedFolder.open(`examples-${hash}`, async (folder) => {
    const [arch] = architectures;
    const target = { path: "", source: "docs/examples/connections.bpf.c", defines: [], arch };
    await compileEbpf(target, join(folder, "connections.o"), join(folder, "zig"));
    const { root } = await loadPackage("bookworm", "libbpf-dev");
    const libbpf = join(root, "usr/lib/x86_64-linux-gnu/libbpf.a");
    const flags = ["-O2", "-Wall", "-Werror", "-I", join(root, "usr/include")];
    const source = join(examples, "connections.c");
    await run(["cc", ...flags, "-o", join(folder, "connections"), source, libbpf, "-lelf", "-lz"]);
  });
  return { object: await cached.path("connections.o"), program: await cached.path("connections") };
}
