/* What the libcrypto.a of a suite with a newer C library asks of it. */
#include <stdlib.h>

long __isoc23_strtol(const char *text, char **end, int base) { return strtol(text, end, base); }
