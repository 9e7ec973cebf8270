import { join } from "node:path";
import { CachedFolder } from "../../assets/build/cache.ts";
import { openSuite } from "../../assets/build/debian.ts";
import { run } from "../../assets/build/run.ts";
import { kernelPackages, type LabKernel } from "./kernels.ts";
import { bootable } from "./vmlinux.ts";

/** A kernel's package as Debian ships it, and what dpkg and others read of it. */
export interface KernelPackage {
  /** The package, and the vmlinuz in it as dpkg-deb unpacks it. */
  readonly deb: string;
  readonly vmlinuz: string;
  /** What QEMU boots of it, and the raw BTF in that, by extract-vmlinux's way and objcopy. */
  readonly vmlinux: string;
  readonly btf: string;
  /** What `uname -r` prints in it. */
  readonly release: string;
}

/** The package with the kernel of a row, fetched on first use and kept in the cache. */
export async function loadKernelPackage(row: LabKernel): Promise<KernelPackage> {
  const cached = await CachedFolder.open(`debs/${row.name}`, async (folder) => {
    const suite = await openSuite(row.suite, row.architecture);
    for (const name of await kernelPackages(suite, row.meta)) {
      if (name.startsWith("linux-modules-")) continue;
      await suite.fetch(name, folder);
    }
    // From 7.x on the package that is called the image's is empty.
    const script = `for deb in *.deb; do
  member=$(dpkg-deb --fsys-tarfile "$deb" | tar --list | grep -m 1 -E '^\\./(boot|usr/lib/modules/[^/]*)/vmlinuz') || { rm "$deb"; continue; }
  dpkg-deb --fsys-tarfile "$deb" | tar --extract --to-stdout "$member" >vmlinuz
  echo "$member" | sed 's|.*/vmlinuz-||; s|.*/modules/||; s|/vmlinuz||' >release
  mv "$deb" kernel.deb
done`;
    await run(["sh", "-c", script], { cwd: folder });
    const { kernel, btf } = await bootable[row.architecture](join(folder, "vmlinuz"));
    await Bun.write(join(folder, "vmlinux"), kernel);
    await Bun.write(join(folder, "vmlinux.btf"), btf);
  });
  const release = new TextDecoder().decode(await cached.read("release")).trim();
  return {
    deb: await cached.path("kernel.deb"),
    vmlinuz: await cached.path("vmlinuz"),
    vmlinux: await cached.path("vmlinux"),
    btf: await cached.path("vmlinux.btf"),
    release,
  };
}

/** A Debian package of this name, fetched on first use and kept in the cache. @returns its path */
export async function loadDebianKernel(suite: string, name: string): Promise<string> {
  const cached = await CachedFolder.open(`debs/${name}`, async (folder) => {
    await (await openSuite(suite)).fetch(name, folder);
    await run(["sh", "-c", "mv *.deb kernel.deb"], { cwd: folder });
  });
  return cached.path("kernel.deb");
}
