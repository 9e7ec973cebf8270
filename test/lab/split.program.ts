/**
 * Run in a guest by split.test.ts: LIBBPF OBJECT FUNCTION. Attaches to a kernel function that has no symbol of its own
 * name, only of pieces, and prints where the program is attached.
 */
import { readFileSync } from "node:fs";
import { Libbpf } from "../../ffi/libbpf.ts";
import { ladder } from "../../src/kernel/fields/ladder.ts";
import { attach } from "../../src/kernel/snapshot/recorder.ts";

const [library = "", bytecode = "", target = ""] = process.argv.slice(2);
const libbpf = new Libbpf(readFileSync(library));
using object = libbpf.openObject(readFileSync(bytecode), "split");
const [rung] = ladder;
if (rung === undefined) throw new Error("the ladder is empty");
for (const { program } of ladder) object.program(program).setAutoload(program === rung.program);
object.load();
using link = attach(object, { ...rung, target });
console.log(link.where);
