#!/bin/sh
# link.sh CRYPTO OUT [shared]: in a configured source tree of OpenSSL, compiles libssl and links it into OUT in each way
# that a library is met with, programs alone without "shared". CRYPTO: the archive of libcrypto to link with, of Debian's
# package of the same series, as libssl alone knows the structs in question and libcrypto is ten times as large; or "own",
# where the options move what is libcrypto's.
set -eu
here=$(dirname "$0")
crypto=$1 out=$2 shared=${3:-}
make() { command make -s -j"$(nproc)" "$@"; }

make libssl.a
if [ "$crypto" = own ]; then
  make libcrypto.a
else
  cp "$crypto" libcrypto.a
  # The one object of it that tells the release.
  make crypto/libcrypto-lib-cversion.o
  ar r libcrypto.a crypto/libcrypto-lib-cversion.o
fi

# The compressors are some libcrypto's; the machine has them, as its dpkg needs them.
gcc -fPIC -c -o newer-libc.o "$here/newer-libc.c"
others="newer-libc.o -Wl,--as-needed -l:libzstd.so.1 -l:libz.so.1 -ldl -lpthread"
client="-Iinclude -O2 -fPIC $here/client.c libssl.a libcrypto.a $others"
mkdir "$out/program"
gcc -DASKS_VERSION -o "$out/program/symbols" $client
strip -o "$out/program/stripped" "$out/program/symbols"
gcc -s -o "$out/program/silent" $client
[ -n "$shared" ] || exit 0

make libssl.ld libcrypto.ld
for kind in symbols stripped headless nameless hidden; do mkdir "$out/$kind"; done
library() {
  gcc -shared -Wl,-z,defs -Wl,-soname,"$1.so.3" -Wl,--version-script="$1.ld" -o "$out/symbols/$1.so.3" \
    -Wl,--whole-archive "$1.a" -Wl,--no-whole-archive $2
}
library libcrypto "$others"
# What of libcrypto.a is not exported is in each of the two.
library libssl "$out/symbols/libcrypto.so.3 libcrypto.a"

strip -o "$out/stripped/libssl.so.3" "$out/symbols/libssl.so.3"
# e_shoff, e_shnum and e_shstrndx of the ELF header.
cp "$out/stripped/libssl.so.3" "$out/headless/libssl.so.3"
for place in 40,8 60,2 62,2; do
  dd if=/dev/zero of="$out/headless/libssl.so.3" bs=1 seek="${place%,*}" count="${place#*,}" conv=notrunc status=none
done
strip -R .dynsym -R .dynstr -R .gnu.hash -R .gnu.version -o "$out/nameless/libssl.so.3" "$out/symbols/libssl.so.3"
for kind in stripped headless nameless; do ln "$out/symbols/libcrypto.so.3" "$out/$kind"; done

# Both inside something that exports nothing of them.
echo '{ global: main; local: *; };' > hidden.ld
gcc -shared -s -DASKS_VERSION -Wl,--version-script=hidden.ld -o "$out/hidden/plugin.so" $client
