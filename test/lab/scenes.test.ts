import { expect, test } from "bun:test";
import * as v from "valibot";
import { documentSchema, type KernelReport } from "../../src/output/document.ts";
import { verifySchema } from "../../src/output/verify-schema.ts";
import { testObject } from "../objects.ts";
import { jsonOf } from "../schema.ts";
import { ALL, CLASSIC, CONNTRACK, trueConstants, type Unknown, withoutNamespaces } from "./constants.ts";
import { executableFor } from "./executable.ts";
import { bootGuest, type CommandResult, HIDE_BTF, LOG, NO_STALLS, SHOW_BTF, text } from "./guest.ts";
import {
  ARCHITECTURES,
  chosenKernels,
  type LabKernel,
  type LoadedKernel,
  labKernel,
  loadKernel,
} from "./kernels.ts";
import { type Ask, LIMIT, type Scene, scenes, type Version } from "./scenes.ts";

/** Tools of one suite serve all kernels. */
const USERLAND = "trixie";
const PACKAGES = [
  ...["bpftool", "iproute2", "nftables", "libnftables1", "libnftnl11", "libmnl0", "libjansson4", "libgmp10"],
  ...["libxtables12", "libedit2", "libtinfo6", "libbsd0", "libmd0", "libbpf1", "libelf1t64", "libzstd1"],
  ...["zlib1g", "libcap2", "libselinux1", "libpcre2-8-0"],
];

/** A regular expression of names: those scenes alone, each step told. */
const { OFFSETOF_SCENE: wanted, OFFSETOF_LAB: asked } = process.env;
/** What costs the most, unlike things: all scenes together take minutes. */
const usual = /1 us|every packet|connect6|ftrace off|full table|one network|four local|MPTCP/;
/** Unasked one kernel has those, and an older one what newer ones have not. */
const rows: readonly (readonly [row: LabKernel, scenes: RegExp])[] = asked
  ? chosenKernels(ARCHITECTURES).map((row) => [row, /^/])
  : [
      [labKernel("6.12-cloud"), wanted ? /^/ : usual],
      [labKernel("6.1-cloud"), /^kprobes turned off/],
    ];

const OFFSETOF = "/opt/offsetof";
const MOST = "/proc/sys/user/max_net_namespaces";
/** Boot and all scenes, on a busy machine. */
const DEADLINE_SECONDS = 3000;
/** What must be the same before and after. The kernel frees programs a moment after their last holder is gone. */
const STATE = `state() {
  cut -d' ' -f1 /proc/modules; cat /proc/mounts; tail -q -n +2 /proc/net/tcp /proc/net/tcp6
  ls -A /tmp /run /dev/shm /sys/fs/bpf /sys/fs/cgroup 2>&1; cat /proc/sys/net/netfilter/nf_conntrack_count ${MOST}
  bpftool prog show; bpftool map show; bpftool link show
}`;
const REMEMBER = `${STATE}; mkdir /run/empty; touch /run/state /run/now; state >/run/now; cp /run/now /run/state`;
const COMPARE = `${STATE}; try=0
until state | cmp -s - /run/state || [ $try = 100 ]; do sleep 0.1; try=$((try + 1)); done; state | diff /run/state -`;

const questions: Record<Ask | "verify", string> = {
  snapshot: `${OFFSETOF} kernel --format json`,
  stepwise: `${OFFSETOF} kernel --strategy stepwise --format json`,
  "shared snapshot": `${OFFSETOF} kernel --format json`,
  "shared stepwise": `${OFFSETOF} kernel --strategy stepwise --format json`,
  verify: `${OFFSETOF} verify kernel --format json`,
};
const isShared = (ask: string): boolean => ask.startsWith("shared");
const inShared = (command: string): string =>
  `most=$(cat ${MOST}); echo 0 >${MOST}; ${command}; status=$?; echo $most >${MOST}; exit $status`;

/** A command of the guest, and what is expected of it: it throws where that does not hold. */
interface Step {
  readonly name: string;
  readonly command: string;
  readonly check: (result: CommandResult) => void;
}

const succeeds = ({ status, stdout, stderr }: CommandResult): void => {
  if (status !== 0) throw new Error(`exit ${status}: ${text(stdout)}${text(stderr)}`);
};

function stepsOf(scene: Scene, kernel: LoadedKernel, truth: Readonly<Record<string, number | null>>): Step[] {
  const step = (name: string, command: string, check: Step["check"]): Step => ({
    name: `${scene.name}: ${name}`,
    command,
    check,
  });
  const inside = (question: keyof typeof questions): string => {
    const command = isShared(question) ? inShared(questions[question]) : questions[question];
    return `${scene.within ?? ""}${command}`;
  };
  const { verify } = scene;
  const unseen = verify?.until !== undefined && isFrom(verify.until, kernel) ? [] : (verify?.unseen ?? []);
  const asks = Object.entries(scene.asks) as [Ask, Unknown][];
  return [
    step("prepare", scene.prepare, succeeds),
    step("without BTF", HIDE_BTF, succeeds),
    ...asks.map(([ask, unknown]) =>
      step(ask, inside(ask), (result) => expectKnown(reportIn(result), truth, unknownTo(ask, unknown))),
    ),
    step("with BTF", SHOW_BTF, succeeds),
    // What the guess does not know BTF tells all the same.
    ...asks
      .filter(
        ([ask, unknown]) =>
          ask.endsWith("snapshot") && (asked || unknown.some(([, { length }]) => length === ALL.length)),
      )
      .map(([ask]) =>
        step(`${ask} with BTF`, inside(ask), (result) => expectKnown(reportIn(result), truth, new Map())),
      ),
    ...(verify === undefined
      ? []
      : [step("verify", inside("verify"), (result) => expectVerified(result, verify.status, unseen))]),
    step("proof", scene.proof, succeeds),
    step("undo", scene.undo, succeeds),
  ];
}

const UNASKED = ALL.filter((constant) => !CLASSIC.includes(constant));

/** What is not known to this question in a scene, by the reason: where there are several, the last one's is told. */
const unknownTo = (ask: Ask, own: Unknown): ReadonlyMap<string, RegExp> =>
  new Map(
    [
      ...(isShared(ask) ? [...withoutNamespaces(LIMIT), [LIMIT, CONNTRACK] as const] : []),
      ...(ask.endsWith("stepwise") ? [[/not guessed by the stepwise strategy/, UNASKED] as const] : []),
      ...own,
    ].flatMap(([because, constants]) => constants.map((constant) => [constant, because] as const)),
  );

function reportIn({ stdout, stderr }: CommandResult): KernelReport {
  if (stdout.length === 0) throw new Error(text(stderr));
  const { kernel } = v.parse(documentSchema, jsonOf("document", text(stdout)));
  if (kernel === undefined || kernel === null) throw new Error("no report on the kernel");
  return kernel;
}

/** Null is what is unknown, for the reason that it has; all else is true. */
function expectKnown(
  { fields }: KernelReport,
  truth: Readonly<Record<string, number | null>>,
  unknown: ReadonlyMap<string, RegExp>,
): void {
  const told = ALL.flatMap((constant) => {
    const { value = "absent", reason = "" } = fields[constant] ?? {};
    const because = unknown.get(constant);
    const isExpected =
      because === undefined ? value === truth[constant] : value === null && because.test(reason);
    return isExpected ? [] : [`${constant} is ${value}, not ${because ?? truth[constant]}: ${reason}`];
  });
  if (told.length > 0) throw new Error(told.join("\n"));
}

/** Nothing differs from the truth, and of what was not seen nothing is said. */
function expectVerified(
  { status, stdout, stderr }: CommandResult,
  expected: number,
  unseen: readonly string[],
): void {
  if (status !== expected) throw new Error(`exit ${status}: ${text(stdout)}${text(stderr)}`);
  if (stdout.length === 0) return;
  const { kernel } = v.parse(verifySchema, jsonOf("verify", text(stdout))).verify;
  for (const [name, { mismatch }] of Object.entries(kernel?.constants ?? {}))
    if (mismatch !== undefined) throw new Error(`${name}: ${JSON.stringify(mismatch)}`);
  expect(Object.keys(kernel?.not_seen ?? {}).sort()).toEqual([...unseen]);
}

/** Whether a kernel is of this version or a newer one. */
function isFrom([major, minor]: Version, { release }: LoadedKernel): boolean {
  const [ownMajor = 0, ownMinor = 0] = release.split(".").map(Number);
  return ownMajor > major || (ownMajor === major && ownMinor >= minor);
}

for (const [row, own] of rows) {
  test(
    `${row.name}: in no scene a wrong number, nothing lost that it need not cost, and no trace`,
    async () => {
      const kernel = await loadKernel({ ...row, userland: USERLAND });
      const truth = await trueConstants(kernel.btf);
      const chosen = scenes.filter(
        (scene) =>
          isFrom(scene.since ?? [0, 0], kernel) &&
          own.test(scene.name) &&
          new RegExp(wanted ?? "").test(scene.name),
      );
      expect(chosen.length).toBeGreaterThan(0);
      const steps: Step[] = [
        { name: "state", command: REMEMBER, check: succeeds },
        ...chosen.flatMap((scene) => stepsOf(scene, kernel, truth)),
        { name: "what is left", command: COMPARE, check: succeeds },
      ];
      const objects = Object.entries({ deny: "deny", mesh: "lab/mesh", mptcp: "lab/mptcp" } as const);
      const { results } = await bootGuest({
        kernel,
        commands: [LOG, ...steps.map(({ command }) => command), LOG],
        files: {
          [OFFSETOF]: { from: await executableFor(row.architecture) },
          ...Object.fromEntries(
            await Promise.all(
              objects.map(async ([name, source]) => [
                `/opt/${name}.o`,
                { from: await testObject(`${source}.bpf.c`) },
              ]),
            ),
          ),
        },
        packages: PACKAGES,
        modules: ["nf_conntrack_netlink", ...new Set(chosen.flatMap(({ modules = [] }) => modules))],
        mounts: ["bpf", "cgroup2", "debugfs"],
        append: [NO_STALLS],
        deadlineSeconds: DEADLINE_SECONDS,
      });
      const failures = steps.flatMap(({ name, check }, index) => {
        const result = results[index + 1];
        if (wanted) console.log(`${name}: ${result?.status} ${result?.seconds.toFixed(1)} s`);
        try {
          if (result === undefined) throw new Error("did not run");
          check(result);
          return [];
        } catch (error) {
          return [`${name}: ${Bun.stripANSI(String(error))}`];
        }
      });
      expect(failures.join("\n\n")).toBe("");
      expect(text(results.at(-1)?.stdout ?? new Uint8Array())).toBe(
        text(results[0]?.stdout ?? new Uint8Array()),
      );
    },
    (DEADLINE_SECONDS + 300) * 1000,
  );
}
