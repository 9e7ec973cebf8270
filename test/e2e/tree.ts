import { chmodSync, copyFileSync, mkdirSync, symlinkSync } from "node:fs";
import { loadPackage } from "../../assets/build/debian.ts";
import { executable, type Run, run, Scratch } from "./executable.ts";

/** Packages of each Debian suite. */
export type Packages = Readonly<Record<string, readonly string[]>>;

/** Folders that a package may have beside /usr, and that lead into it. */
const merged = ["bin", "sbin", "lib", "lib64"] as const;

/**
 * A tree in which /bin, /sbin, /lib and /lib64 lead into /usr, with the packages and the executable. A library there has the C library
 * that it was built for: this machine's may be too old for it.
 */
export async function treeWith(packages: Packages): Promise<Scratch> {
  const root = new Scratch();
  chmodSync(root.path, 0o755); // as any root is: the child is nobody
  for (const folder of ["proc", "sys"]) mkdirSync(root.at(folder));
  for (const folder of merged) {
    mkdirSync(root.at(`usr/${folder}`), { recursive: true });
    symlinkSync(`usr/${folder}`, root.at(folder));
  }
  for (const [suite, names] of Object.entries(packages)) {
    for (const name of names) {
      const from = (await loadPackage(suite, name)).root;
      const copy = `for each in usr:usr ${merged.map((folder) => `${folder}:usr/${folder}`).join(" ")}; do
        [ ! -d "$1/\${each%:*}" ] || cp -a "$1/\${each%:*}/." "$2/\${each#*:}/" || exit 1; done`;
      const copied = run(["sh", "-c", copy, "sh", from, root.path]);
      if (copied.status !== 0) throw new Error(`${name}: ${copied.stderr}`);
    }
  }
  copyFileSync(executable, root.at("offsetof"));
  return root;
}

/** Runs the executable with a tree as its root, in a pid namespace of its own: nothing else runs there. */
export function runIn(tree: string, args: readonly string[]): Run {
  const inside = `mount -t proc proc "$0/proc" && mount -t sysfs sysfs "$0/sys" && exec chroot "$0" /offsetof "$@"`;
  return run(["unshare", "--mount", "--pid", "--fork", "sh", "-c", inside, tree, ...args]);
}
