/**
 * Run in a guest by bake.test.ts: LIBBPF OBJECT. Verifies with a socket reader that was baked elsewhere, and prints what
 * was attached and every comparison.
 */
import { readFileSync } from "node:fs";
import { Libbpf } from "../../ffi/libbpf.ts";
import { EbpfObject } from "../../src/bytecode/object.ts";
import { yes } from "../../src/host/answer.ts";
import { verifyKernel } from "../../src/verify/kernel-reads.ts";

const [library = "", path = ""] = process.argv.slice(2);
const object = new EbpfObject(readFileSync(path), path);
const bake = (filter: ReadonlyMap<string, bigint>) => object.bake(filter);
console.log(
  JSON.stringify(
    verifyKernel(new Libbpf(readFileSync(library)), { bake, name: "baked", rounds: 4, kprobes: yes("") }),
  ),
);
