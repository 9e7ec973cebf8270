import { rename, rm } from "node:fs/promises";
import { dirname, join } from "node:path";
import { run } from "../run.ts";
import { DESCRIPTION, type Entry, installed, lay } from "./content.ts";
import { environment, type Product, type Release } from "./machines.ts";

/** Folders of this package alone: they go with it. */
function ownFolders(entries: readonly Entry[]): string[] {
  const own = /^usr\/share\/(doc\/)?offsetof/;
  const folders = entries.flatMap(({ path }) => {
    const above: string[] = [];
    for (let folder = dirname(path); own.test(folder); folder = dirname(folder)) above.push(folder);
    return above;
  });
  return [...new Set(folders)].sort();
}

/**
 * Writes an RPM by rpmbuild. It depends on nothing and has no script.
 *
 * @param scratch an empty folder, removed afterwards
 */
export async function writeRpm(
  product: Product,
  release: Release,
  scratch: string,
  to: string,
): Promise<void> {
  const root = join(scratch, "root");
  const entries = await installed(product, "rpm");
  await lay(root, entries, release);
  await Bun.write(join(scratch, "offsetof.spec"), spec(release, root, entries));
  const macros = {
    _topdir: join(scratch, "top"),
    _dbpath: join(scratch, "db"),
    _rpmdir: scratch,
    _build_name_fmt: "built.rpm",
    _buildhost: "localhost",
    use_source_date_epoch_as_buildtime: "1",
    clamp_mtime_to_source_date_epoch: "1",
    // xz, for rpm of RHEL 7 knows no zstd; one thread, whatever the machine has.
    _binary_payload: release.effort === "best" ? "w9.xzdio" : "w0.xzdio",
    // Bun's executable is to stay as it is: stripped it is lost.
    __os_install_post: "%{nil}",
    debug_package: "%{nil}",
    _build_id_links: "none",
  };
  const defines = Object.entries(macros).flatMap(([name, value]) => ["--define", `${name} ${value}`]);
  const target = ["--target", `${product.machine.rpm}-linux`];
  await run(["rpmbuild", "-bb", ...target, ...defines, join(scratch, "offsetof.spec")], {
    env: { ...environment(release), HOME: scratch },
  });
  await rename(join(scratch, "built.rpm"), to);
  await rm(scratch, { recursive: true });
}

const spec = ({ version }: Release, root: string, entries: readonly Entry[]): string => `Name: offsetof
Version: ${version}
Release: 1
Summary: Struct offsets of the running kernel and of TLS libraries
License: Apache-2.0
AutoReqProv: no

%description
${DESCRIPTION.join("\n")}

%install
cp -a '${root}/.' %{buildroot}

%files
${ownFolders(entries)
  .map((path) => `%dir %attr(755, root, root) /${path}`)
  .join("\n")}
${entries.map(({ path, mode }) => `%attr(${mode.toString(8)}, root, root) /${path}`).join("\n")}
`;
