import { mkdtemp } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { CachedFolder } from "../../assets/build/cache.ts";
import { openSuite } from "../../assets/build/debian.ts";
import { run } from "../../assets/build/run.ts";

/** Go and the library, as Debian 12 has them: cilium/ebpf 0.9.1. */
const PACKAGES = [
  ...["golang-1.19-go", "golang-1.19-src"],
  ...["golang-github-cilium-ebpf-dev", "golang-golang-x-sys-dev"],
];
const SOURCE = join(import.meta.dir, "cilium.go");

/** Path of the program that is made of a file in Go, on first use: half a GB is unpacked for it, and thrown away. */
export async function buildCilium(file = SOURCE): Promise<string> {
  const source = await Bun.file(file).text();
  const cached = await CachedFolder.open(`core-cilium-${Bun.hash(source).toString(16)}`, async (folder) => {
    const root = await mkdtemp(join(tmpdir(), "offsetof-go-"));
    try {
      const suite = await openSuite("bookworm");
      for (const name of PACKAGES) await suite.unpack(name, join(root, "go"));
      const go = join(root, "go/usr/lib/go-1.19");
      const variables = [
        `GOROOT=${go}`,
        `GOPATH=${join(root, "go/usr/share/gocode")}`,
        `GOCACHE=${root}/cache`,
      ];
      const settings = ["GO111MODULE=off", "CGO_ENABLED=0", ...variables];
      await run(["env", ...settings, join(go, "bin/go"), "build", "-o", join(folder, "cilium"), file]);
    } finally {
      await run(["rm", "-r", root]);
    }
  });
  return cached.path("cilium");
}
