#!/bin/sh
# SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
# probes.sh PROGRAM: where a uprobe on SSL_write goes for that program, as tracefs takes it, and where in its first argument the BIO is that
# is written to. Ends with 3 where one of the two is not known.
set -u

# Assignments that a shell takes, quoted where they must be. offsetof ends with 3 where something is not known: that is not set.
settings=$(offsetof tls "$1" --format env 2> /dev/null) || [ $? -eq 3 ] || exit 1
eval "$settings"
write=${TLS_0_SSL_WRITE_OFFSET:-}
wbio=${TLS_0_SSL_ST_WBIO:-${TLS_0_SSL_CONNECTION_ST_WBIO:-}}
if [ -z "$write" ] || [ -z "$wbio" ]; then
	echo "$1: not known" >&2
	exit 3
fi
printf 'p:ssl_write %s:0x%x bio=+%d(%%di):u64\n' "$TLS_0_PATH" "$write" "$wbio"
