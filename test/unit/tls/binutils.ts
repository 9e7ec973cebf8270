/** What programs attach to. */
export const names = [
  "SSL_read",
  "SSL_write",
  "SSL_read_ex",
  "SSL_write_ex",
  "SSL_do_handshake",
  "ssl_log_secret",
];

/** Its lines that match; a program has half a million symbols. */
const readelf = (path: string, flag: string, pattern: string): string =>
  Bun.spawnSync([
    "sh",
    "-c",
    'readelf -W "$1" "$2" | grep -E "$3"',
    "sh",
    flag,
    path,
    pattern,
  ]).stdout.toString();

/** Address and place in the file of each of these functions that binutils knows of. */
export function functionsIn(path: string): Readonly<Record<string, readonly [number, number]>> {
  const [, start = "", offset = ""] =
    / \.text +PROGBITS +([0-9a-f]+) ([0-9a-f]+) /.exec(readelf(path, "--sections", " \\.text ")) ?? [];
  const moved = Number.parseInt(start, 16) - Number.parseInt(offset, 16);
  const rows = readelf(path, "--symbols", " FUNC .*(SSL|ssl)_").matchAll(
    /: ([0-9a-f]+) +\d+ FUNC +\S+ +\S+ +\d+ ([\w.]+)/g,
  );
  return Object.fromEntries(
    [...rows].flatMap(([, at = "", symbol = ""]) => {
      const address = Number.parseInt(at, 16);
      // A C++ compiler's name has the types of the arguments behind it.
      const name = /^_ZN4bssl14(ssl_log_secret)E/.exec(symbol)?.[1] ?? symbol;
      return names.includes(name) ? [[name, [address, address - moved]] as const] : [];
    }),
  );
}
