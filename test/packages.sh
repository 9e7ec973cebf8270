#!/bin/sh
# Installs the Debian packages that the tests use, as root. Quick, and without network, when all are there.
set -eu

packages="
  qemu-system-arm qemu-system-x86
  binutils dpkg-dev gcc libc6-dev
  bc bison flex g++-12 gcc-12 gcc-12-plugin-dev libelf-dev make
  bpftool curl dropbear-bin dwarves
  bzip2 kmod cpio gzip lz4 lzop rpm skopeo umoci xz-utils zstd
  git groff-base iproute2 jq libcap2-bin lsof man-db openssh-client openssl procps strace time util-linux zsh
"

missing=""
for package in $packages; do
  state=$(dpkg-query --show --showformat '${db:Status-Status}' "$package" 2>/dev/null || true)
  [ "$state" = installed ] || missing="$missing $package"
done
[ -n "$missing" ] || exit 0

echo "test/packages.sh: installing$missing" >&2
if [ "$(id -u)" -ne 0 ]; then
  echo "test/packages.sh: not root; run: apt-get install$missing" >&2
  exit 1
fi
apt-get -qq update
DEBIAN_FRONTEND=noninteractive \
  apt-get -qq -o DPkg::Lock::Timeout=600 install --yes --no-install-recommends $missing
