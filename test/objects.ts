import { join } from "node:path";
import { CachedFolder } from "../assets/build/cache.ts";
import { compileEbpf } from "../assets/build/ebpf.ts";
import { architectures } from "../assets/build/paths.ts";

/** Path of an eBPF object of the tests' own, compiled from a source below test/ and kept in the cache. */
export async function testObject(source: `${string}.bpf.c`): Promise<string> {
  const path = join("test", source);
  const name = source.replaceAll("/", "-").slice(0, -".bpf.c".length);
  const hash = Bun.hash(await Bun.file(join(import.meta.dir, source)).bytes()).toString(16);
  const [arch] = architectures;
  const cached = await CachedFolder.open(`${name}-${hash}`, (folder) =>
    compileEbpf({ path, source: path, defines: [], arch }, join(folder, "object.o"), join(folder, "zig")),
  );
  return cached.path("object.o");
}
