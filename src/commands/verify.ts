import { defineCommand } from "citty";
import * as v from "valibot";
import { SystemError } from "../../ffi/error.ts";
import { Libbpf } from "../../ffi/libbpf.ts";
import { assetBytes } from "../assets.ts";
import { chooseValues } from "../bytecode/constants.ts";
import { bakeEmbedded, embeddedObject } from "../bytecode/objects.ts";
import { pickSocketReader } from "../bytecode/pick.ts";
import { configOf, loadConfig } from "../config.ts";
import { withinDeadline } from "../deadline.ts";
import { hostFiles } from "../host/files.ts";
import { probeHost } from "../host/report.ts";
import { formatVersion, type Verify, verifySchema } from "../output/document.ts";
import { exitCodes, Failure, failureText } from "../output/failure.ts";
import { toJson } from "../output/json.ts";
import { log } from "../output/log.ts";
import { writeStdout } from "../output/stdout.ts";
import { toVerifyTable } from "../output/table.ts";
import { type KernelVerification, verifyKernel } from "../verify/kernel.ts";
import { constantsFor } from "./constants.ts";
import { verifyFlags } from "./flags.ts";
import { formatFor } from "./print.ts";

/** How many sockets of each kind are looked at. */
const ROUNDS = 8;

const kernel = defineCommand({
  meta: {
    name: "kernel",
    description: "Reads fresh sockets with the kernel's constants and compares with what it says",
  },
  args: verifyFlags,
  run: async ({ args }) => {
    const { subject } = await constantsFor("kernel", args);
    const config = configOf(loadConfig({ flags: args, env: process.env }));
    const { kernel } = probeHost(hostFiles("/", config.proc_root));
    const { bytecode: name } = pickSocketReader(kernel.version, config.bytecode);
    if (name === null) throw new Failure("E_BYTECODE", "no object reads sockets on this kernel");
    const names = embeddedObject(name).constants.map((constant) => constant.name);
    const { values } = chooseValues(names, subject, true);
    const bake = (filter: ReadonlyMap<string, bigint>) => bakeEmbedded(name, new Map([...values, ...filter]));
    const asFormat = formatFor(args.format);
    const result = await withinDeadline(
      config.deadline,
      (failure) => failureText(failure, asFormat),
      async () =>
        attempt(() => verifyKernel(new Libbpf(assetBytes("libbpf.so")), { bake, name, rounds: ROUNDS })),
    );
    for (const refused of result.refused) log.debug(refused);
    const document = v.parse(verifySchema, {
      format_version: formatVersion,
      verify: { kernel: { bytecode: name, attached: [...result.attached], ...judge(result, values) } },
    });
    await writeStdout(asFormat === "json" ? toJson(document) : toVerifyTable(document));
    const { constants, not_compared: left } = document.verify.kernel;
    const held = left.length === 0 && Object.values(constants).every((one) => one.held === one.compared);
    process.exitCode = held ? exitCodes.known : exitCodes.incomplete;
  },
});

export default defineCommand({
  meta: { name: "verify", description: "Prove the constants on this machine: kernel" },
  subCommands: { kernel },
});
export const verifyCommands = { kernel };

/** Counts what held of each constant. A comparison that rests on a constant that is absent says nothing. */
function judge(
  { comparisons }: KernelVerification,
  values: ReadonlyMap<string, bigint | null>,
): Pick<Verify["verify"]["kernel"], "constants" | "not_compared"> {
  const known = [...values].flatMap(([name, value]) => (value === null ? [] : [name]));
  const told = comparisons.filter((one) => one.constants.every((name) => known.includes(name)));
  const constants: Verify["verify"]["kernel"]["constants"] = {};
  for (const name of known) {
    const own = told.filter((one) => one.constants.includes(name));
    if (own.length === 0) continue;
    const wrong = own.filter(({ expected, got }) => expected !== got);
    const [first] = wrong;
    constants[name] = {
      compared: own.length,
      held: own.length - wrong.length,
      ...(first && { mismatch: { socket: first.socket, expected: first.expected, got: first.got } }),
    };
  }
  return { constants, not_compared: [...values.keys()].filter((name) => !Object.hasOwn(constants, name)) };
}

/** Where the kernel lets no program in, nothing can be verified. */
function attempt<Result>(act: () => Result): Result {
  try {
    return act();
  } catch (error) {
    if (!(error instanceof SystemError)) throw error;
    throw new Failure("E_VERIFY", `nothing can be verified here: ${error.message}`, exitCodes.impossible);
  }
}
