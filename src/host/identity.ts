import { InputError } from "../input/input.ts";

/** Which kernel runs, as its own texts tell. */
export interface KernelIdentity {
  /** `uname -r`, e.g. `6.1.0-47-cloud-amd64`. */
  readonly release: string;
  /** The upstream version it was built from; Debian's and Ubuntu's release numbers do not tell it. */
  readonly version: readonly [number, number, number];
  /** Who built this kernel (not whose user space runs on it), or null. */
  readonly distro: string | null;
  /** `uname -m`, e.g. `x86_64`. */
  readonly machine: string;
}

export interface KernelTexts {
  readonly release: string;
  readonly machine: string;
  /** /proc/version, one line. */
  readonly version: string | undefined;
  /** /proc/version_signature, which only Ubuntu's kernels have. */
  readonly signature: string | undefined;
}

/**
 * Reads a kernel's identity from its texts.
 * @throws InputError when the release has no version in it: without one nothing about the kernel can be chosen.
 */
export function kernelIdentity(texts: KernelTexts): KernelIdentity {
  const { release, machine, version = "", signature = "" } = texts;
  return { release, version: realVersion(release, version, signature), distro: distroOf(version), machine };
}

/** True when `version` is `major.minor` or later. */
export const isAtLeast = (
  [major, minor]: readonly [number, number, number],
  wantMajor: number,
  wantMinor: number,
): boolean => major > wantMajor || (major === wantMajor && minor >= wantMinor);

const realVersion = (release: string, version: string, signature: string): [number, number, number] => {
  // "Ubuntu 5.15.0-91.101-generic 5.15.131": the last number is upstream's.
  const ubuntu = /^Ubuntu \S+ (\d+\.\d+(?:\.\d+)?)/.exec(signature)?.[1];
  // "... SMP PREEMPT_DYNAMIC Debian 6.1.170-1 (2026-03-01)": the package version begins with upstream's.
  const debian = / (?:Debian|Uos) (\d+\.\d+(?:\.\d+)?)[^ ]*(?: \(|$)/.exec(version)?.[1];
  const text = ubuntu ?? debian ?? release;
  const parts = /^(\d{1,6})\.(\d{1,6})(?!\d)(?:\.(\d{1,6})(?!\d)|(?!\.\d))/.exec(text);
  if (parts === null) {
    throw new InputError("/proc/sys/kernel/osrelease", 0, `no version in "${release.slice(0, 64)}"`);
  }
  return [Number(parts[1]), Number(parts[2]), Number(parts[3] ?? 0)];
};

/**
 * Marks each builder leaves in /proc/version: its release suffix, its build host, its package name.
 * /etc/os-release is not asked: in a container it speaks of another distribution than the kernel's.
 */
const builders: readonly (readonly [mark: RegExp, distro: string])[] = [
  [/microsoft-standard-WSL2|-Microsoft \(/i, "wsl"],
  [/\) #.* Uos \d/, "uos"], // UnionTech's carries Debian's address too
  [/-pve \(/, "proxmox"],
  [/@(?:lists\.)?debian\.org|\) #.* Debian \d/, "debian"],
  [/\) #\S+-Ubuntu |\(buildd@/, "ubuntu"],
  [/^Linux version \S+\.amzn\d+\./, "amazon"],
  [/^Linux version \S+\.fc\d+\./, "fedora"],
  [/^Linux version \S+el\d+uek/, "oracle"],
  [/^Linux version \S+\.el\d\S* .*rockylinux\.org/, "rocky"],
  [/^Linux version \S+\.el\d\S* .*almalinux\.org/, "almalinux"],
  [/^Linux version \S+\.el\d\S* .*centos\.org|stream\.\w+\.redhat\.com/, "centos"],
  [/^Linux version \S+\.el\d\S* .*redhat\.com/, "rhel"],
  [/^Linux version \S+\.el\d\S* .*oracle\.com/, "oracle"],
  [/\(linux@archlinux\)|-arch\d+-\d+ /, "arch"],
  [/\(geeko@/, "suse"],
  [/\(buildozer@build-/, "alpine"],
  [/Chromium OS/, "cos"],
  [/-linuxkit \(/, "linuxkit"],
];

const distroOf = (version: string): string | null =>
  builders.find(([mark]) => mark.test(version))?.[1] ?? null;
