/**
 * docs/examples/kubernetes: against Kubernetes' own schema, and its containers run as far as this machine can: their root alone, the same
 * capabilities, mounts and namespaces. The schema comes from npm, only where OFFSETOF_ENGINES asks for it: `OFFSETOF_ENGINES=kubernetes`.
 */
import { expect, test } from "bun:test";
import { copyFileSync, mkdirSync, readFileSync } from "node:fs";
import { join } from "node:path";
import * as v from "valibot";
import { CachedFolder } from "../../assets/build/cache.ts";
import { run as succeed } from "../../assets/build/run.ts";
import { watchLineSchema } from "../../src/output/watch-schema.ts";
import { documentOf, executable, repository, run, Scratch } from "../e2e/executable.ts";
import { jsonOf } from "../schema.ts";

const isAsked = /\bkubernetes\b|^all$/.test(process.env.OFFSETOF_ENGINES ?? "");
const SCHEMA = "kubernetes-models@5.1.0";
const container = v.object({
  args: v.array(v.string()),
  securityContext: v.object({
    readOnlyRootFilesystem: v.literal(true),
    runAsUser: v.literal(0),
    capabilities: v.object({ drop: v.tuple([v.literal("ALL")]), add: v.array(v.string()) }),
  }),
  volumeMounts: v.array(v.object({ name: v.string(), mountPath: v.string(), readOnly: v.literal(true) })),
});
const workload = v.object({
  apiVersion: v.string(),
  kind: v.string(),
  spec: v.object({
    template: v.object({
      spec: v.object({
        hostPID: v.literal(true),
        containers: v.tuple([container]),
        volumes: v.array(v.object({ name: v.string(), hostPath: v.object({ path: v.string() }) })),
      }),
    }),
  }),
});

const text = readFileSync(join(repository, "docs/examples/kubernetes/offsetof.yaml"), "utf8");
const documents: readonly unknown[] = [Bun.YAML.parse(text)].flat();
const [job, daemon] = documents.map((one) => v.parse(workload, one));

/** A container: a root with the executable alone, procfs of the host's processes, sysfs, and the manifest's mounts and capabilities. */
function contained(
  { spec }: v.InferOutput<typeof workload>,
  root: Scratch,
  seconds: number,
): readonly string[] {
  const { containers, volumes } = spec.template.spec;
  const [{ args, securityContext, volumeMounts }] = containers;
  const binds = volumeMounts.map(({ name, mountPath }) => {
    const from = volumes.find((one) => one.name === name)?.hostPath.path;
    return `mount --rbind ${from} ${root.at(mountPath)}; mount -o remount,bind,ro ${root.at(mountPath)}`;
  });
  for (const folder of ["proc", "sys"]) mkdirSync(root.at(folder));
  copyFileSync(executable, root.at("offsetof"));
  const script = `set -e; mountpoint -q /sys/kernel/security || mount -t securityfs securityfs /sys/kernel/security
    mount --bind ${root.path} ${root.path}; mount -t proc proc ${root.at("proc")}; mount -t sysfs sysfs ${root.at("sys")}
    ${binds.join("\n")}
    mount -o remount,bind,ro ${root.path}
    exec "$@"`;
  const names = securityContext.capabilities.add.map((name) => name.toLowerCase());
  const bounding = `-all,${[...names, "sys_chroot"].map((name) => `+${name}`).join(",")}`;
  return [
    ...["unshare", "--mount", "--net", "--ipc", "--uts", "--cgroup", "sh", "-c", script, "sh"],
    ...["timeout", "--preserve-status", "--signal=TERM", `${seconds}`],
    // A runtime enters the root before it drops what that takes.
    ...["setpriv", `--bounding-set=${bounding}`, "--inh-caps=-all", "--no-new-privs", "chroot", root.path],
    ...["/offsetof", ...args],
  ];
}

test.skipIf(!isAsked)(
  "the Job's container tells what root tells here: kernel and libraries of the host's processes",
  () => {
    if (job === undefined) throw new Error("no Job");
    using root = new Scratch();
    const document = documentOf(run(contained(job, root, 120)));
    expect(document.host.lockdown).not.toBe(null);
    const { constants } = documentOf(run([executable, "kernel", "--format", "json"])).kernel ?? {};
    expect(document.kernel?.constants).toEqual(constants ?? {});
    expect(document.diagnostics.filter(({ code }) => /NO_GUESS|GUESS_LIMITED/.test(code))).toEqual([]);
    expect(document.tls).not.toEqual([]);
  },
);

test.skipIf(!isAsked)("the DaemonSet's container watches, and ends by what ends a pod", () => {
  if (daemon === undefined) throw new Error("no DaemonSet");
  using root = new Scratch();
  const { status, stdout } = run(contained(daemon, root, 30));
  const lines = stdout
    .split("\n")
    .filter((line) => line !== "")
    .map((line) => v.parse(watchLineSchema, jsonOf("tls-watch-line", line)));
  expect(lines.map(({ event }) => event)).toContain("watching");
  expect(status).toBe(0);
});

test.skipIf(!isAsked)(
  "Kubernetes' own schema takes each manifest, and refuses one that is none",
  async () => {
    const cached = await CachedFolder.open(`npm/${SCHEMA}`, async (folder) => {
      await succeed([
        "npm",
        "install",
        "--no-audit",
        "--no-fund",
        "--ignore-scripts",
        "--prefix",
        folder,
        SCHEMA,
      ]);
    });
    const models = join(cached.folder, "node_modules/kubernetes-models");
    for (const [index, path] of ["batch/v1/Job", "apps/v1/DaemonSet"].entries()) {
      const module: unknown = await import(join(models, `${path}.js`));
      const model = v.parse(v.record(v.string(), v.any()), module)[path.split("/").at(-1) ?? ""];
      const check = (document: unknown) => new model(document).validate();
      expect(() => check(documents[index])).not.toThrow();
      const wrong = structuredClone(v.parse(v.looseObject({ spec: v.looseObject({}) }), documents[index]));
      wrong.spec.template = 7;
      expect(() => check(wrong)).toThrow();
    }
  },
);
