/** bun sleeper.program.ts NAMESPACES: makes a child that sleeps for ten minutes, prints its pid, and is killed while it sleeps. */
import { Sleeper } from "../../../ffi/process.ts";
import { statFieldsOf } from "../../../src/kernel/scene/procfs.ts";

const { pid } = new Sleeper(Number(process.argv[2]), 600);
while (statFieldsOf(pid)(3) !== "S") await Bun.sleep(1);
process.stdout.write(`${pid}\n`, () => process.kill(process.pid, "SIGKILL"));
