import { join } from "node:path";
import { executable } from "../e2e/executable.ts";
import { debianPackage, loadSamples } from "../unit/tls/debian.ts";
import { row, sideBySide, table } from "./figures.ts";

const RUNS = 15;
const LIB = "usr/lib/x86_64-linux-gnu";
/** Milliseconds; what is aimed at. */
const goals = { all: 500, read: 200 };

/** Reports of one library: with all sources, of which the probe runs the library in a child, and by reading alone. */
export async function tlsSection(): Promise<string> {
  await loadSamples();
  const at = (suite: string, name: string, file: string) =>
    join(debianPackage(suite, "amd64", name).root, LIB, file);
  const libraries = {
    "OpenSSL 1.1.1w": at("bullseye", "libssl1.1", "libssl.so.1.1"),
    "OpenSSL 3.0": `/${LIB}/libssl.so.3`,
    "BoringSSL, Android 13": at("bookworm", "android-libboringssl", "android/libssl.so.0"),
  };
  const ways = [
    { name: "offsetof tls PATH", flags: [], goal: goals.all },
    { name: "offsetof tls PATH --source table,code", flags: ["--source", "table,code"], goal: goals.read },
  ];
  const asked = Object.entries(libraries).flatMap(([library, path]) =>
    ways.map(({ name, flags, goal }) => {
      const command = [executable, "tls", path, ...flags, "--trust", path, "--format", "json"];
      return { library, name, goal, command };
    }),
  );
  const figures = sideBySide(
    asked.map(({ command }) => command),
    RUNS,
  );
  const rows = figures.map(({ wall, cpu, memory }, index) => {
    const { library = "", name = "", goal = 0 } = asked[index] ?? {};
    return row(library, `\`${name}\``, wall, cpu, memory, `${wall <= goal ? "≤" : "**>**"} ${goal}`);
  });
  return `## TLS reports of one library

Debian's libraries on this machine, ${RUNS} runs of each command in turn. Without \`--source\` the library is run in a confined child
too, where it measures itself.

${table(["library", "command", "wall ms", "cpu ms", "memory MiB", "wall, goal"], rows)}
`;
}
