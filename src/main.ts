/** What is asked most by scripts needs nothing of the rest, which a start would load: a third of its time. */
import { version } from "../package.json";

const isVersionAlone = process.argv.length === 3 && process.argv[2] === "--version";
const isWritten = isVersionAlone && (await tried(`${version}\n`));
if (!isWritten) await (await import("./cli.ts")).cli();

/** Whether it could be written; where not, the whole program tells why. */
async function tried(text: string): Promise<boolean> {
  const { writeStdout } = await import("./output/stdout.ts");
  return writeStdout(text).then(
    () => true,
    () => false,
  );
}
