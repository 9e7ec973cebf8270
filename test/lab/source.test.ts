import { describe, expect, test } from "bun:test";
import { join } from "node:path";
import * as v from "valibot";
import { kernelFields } from "../../src/kernel/fields/fields.ts";
import { detectDocumentSchema } from "../../src/output/detect-schema.ts";
import { type Document, documentSchema, type Strategy } from "../../src/output/document.ts";
import { gatewayDocumentSchema } from "../../src/output/gateway-schema.ts";
import { verifySchema } from "../../src/output/verify-schema.ts";
import { jsonOf } from "../schema.ts";
import { CLASSIC } from "./constants.ts";
import { bootGuest, guestTimeout, text } from "./guest.ts";
import { buildKernel, chosenSourceKernels } from "./source.ts";

const EXECUTABLE = join(import.meta.dir, "../../dist/offsetof");
/** A build from nothing on a busy machine included. Milliseconds. */
const TIMEOUT = 3_600_000 + guestTimeout;
const LOG = "dmesg | grep -viE 'clocksource|tsc: |random: ' || true";
const STATE = "cat /proc/mounts; tail -n +2 /proc/net/tcp; ls -A /tmp /run /dev/shm 2>&1";
/** A guest that got no time from a busy machine is no finding. */
const NO_STALLS = "rcupdate.rcu_cpu_stall_suppress=1";
const ask = (strategy: Strategy, before = ""): [Strategy, string] => [
  strategy,
  `${before}/opt/offsetof kernel --strategy ${strategy} --format json`,
];
/** In the network that the guess has to work in where there is no other. */
const FEW_PORTS = "echo 40000 40003 >/proc/sys/net/ipv4/ip_local_port_range; ";
const asked = [
  ...Array.from({ length: process.env.OFFSETOF_LAB ? 20 : 10 }, () => ask("snapshot")),
  ...Array.from({ length: 3 }, () => ask("stepwise")),
  ...[ask("snapshot", FEW_PORTS), ask("stepwise", FEW_PORTS)],
];

const FLOWI6 = ["offset_saddr_fl6", "offset_daddr_fl6", "offset_sport_fl6", "offset_dport_fl6"];
const NAMESPACE = ["offset_netns", "offset_ino", "offset_ct_ino"];
const CONNTRACK = ["offset_ct_origin", "offset_ct_reply", "offset_ct_netns", "offset_ct_status"];

/** Constants that stay null, by what their reason must say. */
type Unknown = readonly (readonly [because: RegExp, constants: readonly string[]])[];

/** What a kernel cannot show; the others show all. */
const unknown: Readonly<Record<string, Unknown>> = {
  "source-bare": [
    [/this kernel has no network namespaces \(CONFIG_NET_NS\)/, [...NAMESPACE, ...CONNTRACK]],
    [/IPv6 is off on this host/, ["offset_daddr_ipv6", "offset_saddr_ipv6", ...FLOWI6, "offset_family"]],
  ],
  "source-nokprobes": [
    [
      /kprobe:nf_conntrack_hash_check_insert, \S+: \/sys\/bus\/event_source\/devices\/kprobe\/type is not there/,
      CONNTRACK,
    ],
  ],
};

const commands = {
  log: LOG,
  state: STATE,
  detect: "/opt/offsetof detect --format json",
  run: "/opt/offsetof run --format json",
  tls: "/opt/offsetof tls /usr/lib/x86_64-linux-gnu/libssl.so.3 --format json",
  btf: "/opt/offsetof btf -o /run/kernel.btf; head -c 4 /run/kernel.btf | od -An -tx1; rm /run/kernel.btf",
  bytecode:
    "/opt/offsetof bytecode extract --for kernel --allow-missing -o /run/sock.o --format json; rm /run/sock.o",
  gateway: "/opt/offsetof gateway 127.0.0.2 127.0.0.1 --format json",
  config: "/opt/offsetof config",
  verify: "/opt/offsetof verify kernel --format json",
  verifyStepwise: "/opt/offsetof verify kernel --strategy stepwise --format json",
};

describe.each(chosenSourceKernels().map((row) => ({ row, name: row.name, notes: row.notes })))(
  "$name, $notes",
  ({ row }) => {
    test(
      "what every command says is true, null is what this kernel cannot show, and its log says nothing of it",
      async () => {
        const kernel = await buildKernel(row);
        const { results } = await bootGuest({
          kernel,
          commands: [...Object.values(commands), ...asked.map(([, command]) => command), STATE, LOG],
          files: { "/opt/offsetof": { from: EXECUTABLE } },
          packages: ["libssl3"],
          append: [NO_STALLS],
        });
        const result = (name: keyof typeof commands) => {
          const found = results[Object.keys(commands).indexOf(name)];
          if (found === undefined || found.stdout.length === 0)
            throw new Error(`${name}: ${text(found?.stderr ?? new Uint8Array())}`);
          return { status: found.status, stdout: text(found.stdout) };
        };
        const guesses = results.slice(Object.keys(commands).length, -2).map(({ status, stdout, stderr }) => {
          if (stdout.length === 0) throw new Error(text(stderr));
          return { status, document: v.parse(documentSchema, jsonOf("document", text(stdout))) };
        });
        const strategies = guesses.map(({ document }) => document.kernel?.strategy ?? null);
        expect(strategies).toEqual(asked.map(([strategy]) => strategy));

        const why = new Map(
          (unknown[row.name] ?? []).flatMap(([because, names]) => names.map((name) => [name, because])),
        );
        const failures = guesses.flatMap(({ document }, run) =>
          failuresOf(document, kernel.truth, why).map((each) => `run ${run}: ${each}`),
        );
        expect(failures).toEqual([]);
        for (const { status, document } of guesses)
          expect(status).toBe(Object.values(document.kernel?.constants ?? {}).includes(null) ? 3 : 0);
        const whole = v.parse(documentSchema, jsonOf("document", result("run").stdout));
        expect(failuresOf(whole, kernel.truth, why)).toEqual([]);

        const { detect } = v.parse(detectDocumentSchema, jsonOf("detect", result("detect").stdout));
        const foretold = Object.entries(detect.kernel.structs).filter(
          ([struct, { would }]) => would && struct !== "socket",
        );
        expect(foretold.map(([, { rung }]) => rung ?? "").toSorted()).toEqual(
          whole.kernel?.attached.toSorted() ?? [],
        );
        expect(detect.missing.some(({ help }) => help.includes("CONFIG_NET_NS"))).toBe(
          row.name === "source-bare",
        );

        for (const name of ["verify", "verifyStepwise"] as const) {
          const { verify } = v.parse(verifySchema, jsonOf("verify", result(name).stdout));
          const held = Object.entries(verify.kernel?.constants ?? {}).filter(
            ([, each]) => each.compared === 0 || each.held < each.compared,
          );
          expect([name, held]).toEqual([name, []]);
          const { constants = {}, not_compared = [] } = verify.kernel ?? {};
          // The reader that is verified passes over sockets whose family it cannot read.
          if (why.has("offset_family")) expect([name, constants]).toEqual([name, {}]);
          else expect([name, not_compared.filter((each) => !why.has(each))]).toEqual([name, []]);
        }
        const { gateway } = v.parse(gatewayDocumentSchema, jsonOf("gateway", result("gateway").stdout));
        expect([result("gateway").status, gateway.netns === null]).toEqual([0, row.name === "source-bare"]);
        expect(result("btf").stdout.trim()).toBe("9f eb 01 00");
        const { tls } = v.parse(documentSchema, jsonOf("document", result("tls").stdout));
        expect(
          Object.values(tls?.[0]?.fields ?? {}).filter(({ evidence }) => evidence.probe).length,
        ).toBeGreaterThan(10);
        for (const name of ["config", "bytecode"] as const)
          expect([name, result(name).status]).toEqual([name, 0]);

        const outputs = (from: number, to?: number) =>
          results.slice(from, to).map(({ stdout }) => text(stdout));
        expect(outputs(-2)).toEqual(outputs(0, 2).toReversed());
      },
      TIMEOUT,
    );
  },
);

/** What of a guess is untrue, or null though this kernel shows it, or for another reason than that it cannot. */
function failuresOf(
  { kernel }: Document,
  truth: ReadonlyMap<string, number | null>,
  why: ReadonlyMap<string, RegExp>,
): string[] {
  const isAsked = (constant: string): boolean =>
    kernel?.strategy === "snapshot" || CLASSIC.includes(constant);
  return kernelFields
    .filter(({ constant }) => isAsked(constant))
    .flatMap(({ constant, member }) => {
      const { value, reason } = kernel?.fields[constant] ?? { value: null, reason: "no field" };
      const because = why.get(constant);
      if (because === undefined)
        return value === truth.get(member)
          ? []
          : [`${constant}: ${value}, not ${truth.get(member)}: ${reason}`];
      return value === null && because.test(reason ?? "") ? [] : [`${constant}: ${value}: ${reason}`];
    });
}
