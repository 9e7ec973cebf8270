import { expect, test } from "bun:test";
import { isAtLeast, kernelIdentity } from "../../../src/host/identity.ts";

/** /proc/version of real kernels, as they and their reporters printed it, and what each one is. */
const kernels: readonly {
  version: string;
  signature?: string;
  is: { version: [number, number, number]; distro: string | null };
}[] = [
  {
    version:
      "Linux version 4.19.0-13-amd64 (debian-kernel@lists.debian.org) (gcc version 8.3.0 (Debian 8.3.0-6)) #1 SMP Debian 4.19.160-2 (2020-11-28)",
    is: { version: [4, 19, 160], distro: "debian" },
  },
  {
    version:
      "Linux version 5.10.0-46-cloud-amd64 (debian-kernel@lists.debian.org) (gcc-10 (Debian 10.2.1-6) 10.2.1 20210110, GNU ld (GNU Binutils for Debian) 2.35.2) #1 SMP Debian 5.10.262-1 (2026-07-31)",
    is: { version: [5, 10, 262], distro: "debian" },
  },
  {
    version:
      "Linux version 6.1.0-56-cloud-amd64 (debian-kernel@lists.debian.org) (gcc-12 (Debian 12.2.0-14+deb12u1) 12.2.0, GNU ld (GNU Binutils for Debian) 2.40) #1 SMP PREEMPT_DYNAMIC Debian 6.1.192-2 (2026-11-16)",
    is: { version: [6, 1, 192], distro: "debian" },
  },
  {
    version:
      "Linux version 6.12.117+deb13-rt-amd64 (debian-kernel@lists.debian.org) (x86_64-linux-gnu-gcc-14 (Debian 14.2.0-19) 14.2.0, GNU ld (GNU Binutils for Debian) 2.44) #1 SMP PREEMPT_RT Debian 6.12.117-1 (2026-11-12)",
    is: { version: [6, 12, 117], distro: "debian" },
  },
  {
    version:
      "Linux version 7.2.13+deb14-cloud-amd64 (debian-kernel@lists.debian.org) (x86_64-linux-gnu-gcc-16 (Debian 16.2.0-4) 16.2.0, GNU ld (GNU Binutils for Debian) 2.47.50.20261021) #1 SMP PREEMPT_DYNAMIC Debian 7.2.13-1 (2026-10-28)",
    is: { version: [7, 2, 13], distro: "debian" },
  },
  {
    version:
      "Linux version 3.16.0-4-686-pae (debian-kernel@lists.debian.org) (gcc version 4.8.4 (Debian 4.8.4-1) ) #1 SMP Debian 3.16.7-ckt11-1+deb8u2 (2015-07-17)",
    is: { version: [3, 16, 7], distro: "debian" },
  },
  {
    version:
      "Linux version 3.0.0-12-generic (buildd@crested) (gcc version 4.6.1 (Ubuntu/Linaro 4.6.1-9ubuntu3) ) #20-Ubuntu SMP Fri Oct 7 14:56:25 UTC 2011",
    signature: "Ubuntu 3.0.0-12.20-generic 3.0.4",
    is: { version: [3, 0, 4], distro: "ubuntu" },
  },
  {
    version:
      "Linux version 5.3.0-46-generic (buildd@lgw01-amd64-003) (gcc version 9.2.1 20191008 (Ubuntu 9.2.1-9ubuntu2)) #38-Ubuntu SMP Fri Mar 27 17:37:05 UTC 2020",
    signature: "Ubuntu 5.3.0-46.38-generic 5.3.18",
    is: { version: [5, 3, 18], distro: "ubuntu" },
  },
  {
    version:
      "Linux version 6.17.0-1011-azure (buildd@lcy02-amd64) (gcc (Ubuntu 13.3.0) 13.3.0) #11~24.04.2-Ubuntu SMP",
    is: { version: [6, 17, 0], distro: "ubuntu" },
  },
  {
    version:
      "Linux version 5.14.0-427.18.1.el9_4.x86_64 (mockbuild@iad1-prod-build001.bld.equ.rockylinux.org) (gcc (GCC) 11.4.1 20231218 (Red Hat 11.4.1-3), GNU ld version 2.35.2-43.el9) #1 SMP PREEMPT_DYNAMIC",
    is: { version: [5, 14, 0], distro: "rocky" },
  },
  {
    version:
      "Linux version 5.14.0-570.26.1.el9_6.x86_64 (mockbuild@x64-builder03.almalinux.org) (gcc (GCC) 11.5.0 20240719 (Red Hat 11.5.0-5), GNU ld version 2.35.2-63.el9) #1 SMP PREEMPT_DYNAMIC Wed Jul 16 09:12:04 EDT 2025",
    is: { version: [5, 14, 0], distro: "almalinux" },
  },
  {
    version: "Linux version 5.14.0-362.el9.x86_64 (mockbuild@x86-04.stream.rdu2.redhat.com)",
    is: { version: [5, 14, 0], distro: "centos" },
  },
  {
    version:
      "Linux version 3.10.0-1160.el7.x86_64 (mockbuild@kbuilder.bsys.centos.org) (gcc version 4.8.5 20150623 (Red Hat 4.8.5-44) (GCC) ) #1 SMP Mon Oct 19 16:18:59 UTC 2020",
    is: { version: [3, 10, 0], distro: "centos" },
  },
  {
    version:
      "Linux version 6.1.134-152.225.amzn2023.x86_64 (mockbuild@ip-10-0-33-51) (gcc (GCC) 11.5.0 20240719 (Red Hat 11.5.0-5), GNU ld version 2.41-50.amzn2023.0.3) #1 SMP PREEMPT_DYNAMIC Wed May  7 09:10:59 UTC 2025",
    is: { version: [6, 1, 134], distro: "amazon" },
  },
  {
    version:
      "Linux version 6.18.33.2-microsoft-standard-WSL2 (root@f1bbfb02316b) (gcc (GCC) 13.2.0, GNU ld (GNU Binutils) 2.41) #1 SMP PREEMPT_DYNAMIC Thu Jun 18 21:54:43 UTC 2026",
    is: { version: [6, 18, 33], distro: "wsl" },
  },
  {
    version:
      "Linux version 4.19.0-6-amd64 (debian-kernel@lists.debian.org) (gcc version 8.3.0 (Debian 8.3.0-6)) #1 SMP Uos 4.19.67-11eagle (2020-03-21)",
    is: { version: [4, 19, 67], distro: "uos" },
  },
  {
    version:
      "Linux version 6.18.44-fc-v657 (builder@sandboxing) (gcc (GCC) 15.3.0, GNU ld (GNU Binutils) 2.46) #1 SMP PREEMPT_DYNAMIC @0",
    is: { version: [6, 18, 44], distro: null },
  },
  {
    version:
      "Linux version 5.14.0-rc1+ (henry@xxxx) (gcc (Ubuntu 9.3.0-17ubuntu1~20.04) 9.3.0, GNU ld (GNU Binutils for Ubuntu) 2.34) #19 SMP Wed Oct 13 05:18:13 EDT 2021",
    is: { version: [5, 14, 0], distro: null },
  },
];

const releaseIn = (version: string): string => version.split(" ")[2] ?? "";

test.each(kernels)("reads $version", ({ version, signature, is }) => {
  const release = releaseIn(version);
  expect(kernelIdentity({ release, machine: "x86_64", version, signature })).toEqual({
    release,
    machine: "x86_64",
    ...is,
  });
});

test("without /proc/version the release tells the version and the distro is not known", () => {
  const texts = {
    release: "5.15.0-91-generic",
    machine: "aarch64",
    version: undefined,
    signature: undefined,
  };
  expect(kernelIdentity(texts)).toEqual({
    release: "5.15.0-91-generic",
    version: [5, 15, 0],
    distro: null,
    machine: "aarch64",
  });
});

test("a Debian release candidate keeps its upstream version", () => {
  const version =
    "Linux version 7.3-rc2-amd64 (debian-kernel@lists.debian.org) (gcc) #1 SMP Debian 7.3~rc2-1~exp1 (2026-11-01)";
  expect(
    kernelIdentity({ release: releaseIn(version), machine: "x86_64", version, signature: undefined }).version,
  ).toEqual([7, 3, 0]);
});

test("a release without a version is an error that names the file", () => {
  const texts = { release: "custom", machine: "x86_64", version: undefined, signature: undefined };
  expect(() => kernelIdentity(texts)).toThrow(/osrelease.*"custom"/);
  // No kernel has a part of so many digits, and a number of them would be another.
  for (const release of ["6.90071992547409931", "18446744073709551616.1", "6.1.9007199254740993"])
    expect(() => kernelIdentity({ ...texts, release })).toThrow(/osrelease.*no version/);
});

test("versions compare by number, not by text", () => {
  expect(isAtLeast([4, 17, 0], 4, 17)).toBe(true);
  expect(isAtLeast([4, 9, 300], 4, 17)).toBe(false);
  expect(isAtLeast([5, 0, 0], 4, 17)).toBe(true);
});
