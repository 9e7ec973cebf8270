import { afterAll, beforeAll, expect, test } from "bun:test";
import { chmodSync, chownSync, mkdirSync, mkdtempSync, rmSync, symlinkSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import fc from "fast-check";
import { exitOf } from "../../../src/commands/exit.ts";
import {
  type Config,
  configOf,
  flagName,
  loadConfig,
  type Origins,
  type SettingKey,
  settingKeys,
  settings,
  variableName,
} from "../../../src/commands/settings.ts";
import { Failure } from "../../../src/output/failure.ts";

let folder = "";
beforeAll(() => {
  folder = mkdtempSync(join(tmpdir(), "offsetof-config-"));
});
afterAll(() => rmSync(folder, { recursive: true }));

/** Writes a config file that is fit to be read. */
function write(content: string | Uint8Array, name = "offsetof.json"): string {
  const path = join(folder, name);
  rmSync(path, { force: true });
  writeFileSync(path, content, { mode: 0o644 });
  return path;
}

function refusal(origins: Partial<Origins>): { code: string; exit: number; message: string } {
  try {
    loadConfig({ flags: {}, env: {}, ...origins });
  } catch (error) {
    if (error instanceof Failure) return { code: error.code, exit: exitOf(error), message: error.message };
    throw error;
  }
  throw new Error("accepted");
}

const fileRefusal = (content: string | Uint8Array): string => {
  const config = write(content);
  const { code, exit, message } = refusal({ flags: { config } });
  expect({ code, exit }).toEqual({ code: "E_CONFIG", exit: 2 });
  expect(message).toStartWith(config);
  return message.slice(config.length);
};

/** Values that each setting takes. */
const values: { [Key in SettingKey]: fc.Arbitrary<Config[Key]> } = {
  allow: fc.constantFrom("none", "assumed"),
  strategy: fc.constantFrom("snapshot", "stepwise"),
  bytecode: fc.constantFrom("auto", "current", "old"),
  source: fc.subarray(["guess", "btf", "probe", "table"], { minLength: 1 }),
  trust: fc.array(fc.stringMatching(/^\/[\w./-]{0,50}$/), { minLength: 1, maxLength: 5 }),
  threshold: fc.integer({ min: 1, max: 3000 }),
  retries: fc.integer({ min: 0, max: 100 }),
  stability_window: fc.integer({ min: 1, max: 1_000_000 }),
  stability_attempts: fc.integer({ min: 1, max: 10_000 }),
  collect_tcpv4: fc.boolean(),
  collect_tcpv6: fc.boolean(),
  collect_udpv4: fc.boolean(),
  collect_udpv6: fc.boolean(),
  proc_root: fc.stringMatching(/^\/[a-z/]{0,20}$/),
  deadline: fc.integer({ min: 1, max: 3_600_000 }),
};
/** Any subset of the settings. */
const some = fc.record(values, { requiredKeys: [] });

test("flags beat variables, variables the file, the file the defaults: for each setting on its own", () => {
  fc.assert(
    fc.property(some, some, some, (flagged, exported, filed) => {
      const path = write(JSON.stringify(filed));
      const named = <Value>(given: object, name: (key: SettingKey) => Value) =>
        Object.fromEntries(
          Object.entries(given).map(([key, value]) => [name(key as SettingKey), String(value)]),
        );
      const effective = loadConfig({
        flags: { ...named(flagged, flagName), config: path },
        env: named(exported, variableName),
      });
      const expected = settingKeys.map((key) => {
        if (key in flagged) return [key, { value: flagged[key], from: `--${key.replaceAll("_", "-")}` }];
        if (key in exported) return [key, { value: exported[key], from: `OFFSETOF_${key.toUpperCase()}` }];
        if (key in filed) return [key, { value: filed[key], from: path }];
        return [key, { value: settings[key].standard, from: "default" }];
      });
      expect(effective).toEqual(Object.fromEntries(expected));
    }),
  );
});

test("the defaults hold what their own checks allow", () => {
  const defaults = configOf(loadConfig({ flags: { config: write("{}") }, env: {} }));
  const again = configOf(loadConfig({ flags: { config: write(JSON.stringify(defaults)) }, env: {} }));
  expect(again).toEqual(defaults);
});

test("an empty variable counts as not set", () => {
  const { threshold } = loadConfig({ flags: {}, env: { OFFSETOF_THRESHOLD: "" } });
  expect(threshold).toEqual({ value: 400, from: "default" });
});

test.each([
  ["threshold", "0", "1 to 3000 bytes"],
  ["threshold", "3001", "1 to 3000 bytes"],
  ["threshold", "1e3", "1 to 3000 bytes"],
  ["threshold", " 7", "1 to 3000 bytes"],
  ["threshold", "0x10", "1 to 3000 bytes"],
  ["retries", "-1", "0 to 100"],
  ["deadline", "0", "1 to 3600000 milliseconds"],
  ["strategy", "Snapshot", "snapshot or stepwise"],
  ["source", "guess,stabs", "one or more of guess, btf, dwarf, probe, code, references, table, each once"],
  ["source", "btf,btf", "one or more of guess, btf, dwarf, probe, code, references, table, each once"],
  ["collect_udpv6", "yes", "true or false"],
  ["proc_root", "host/proc", "an absolute path"],
  ["proc_root", "/host\0", "an absolute path"],
] as const)("%s cannot be %j, in a variable or a flag", (key, text, allowed) => {
  const [flag, variable] = [flagName(key), variableName(key)];
  const shown = JSON.stringify(text);
  expect(refusal({ env: { [variable]: text } })).toEqual({
    code: "E_CONFIG",
    exit: 2,
    message: `${variable} cannot be ${shown}: ${allowed}`,
  });
  expect(refusal({ flags: { [flag]: text } })).toEqual({
    code: "E_USAGE",
    exit: 2,
    message: `--${flag} cannot be ${shown}: ${allowed}`,
  });
});

test.each([
  ['{"threshold": "400"}', ': threshold cannot be "400": 1 to 3000 bytes'],
  ['{"threshold": 4.5}', ": threshold cannot be 4.5: 1 to 3000 bytes"],
  ['{"threshold": null}', ": threshold cannot be null: 1 to 3000 bytes"],
  [
    '{"source": ["btf", "stabs"]}',
    ': source.1 cannot be "stabs": one or more of guess, btf, dwarf, probe, code, references, table, each once',
  ],
  [
    '{"source": []}',
    ": source cannot be []: one or more of guess, btf, dwarf, probe, code, references, table, each once",
  ],
  [
    '{"source": "btf"}',
    ': source cannot be "btf": one or more of guess, btf, dwarf, probe, code, references, table, each once',
  ],
  ['{"collect_tcpv6": 1}', ": collect_tcpv6 cannot be 1: true or false"],
  ['{"treshold": 400}', ': unknown key "treshold", did you mean "threshold"?; keys are strategy, '],
  ['{"__proto__": {}}', ': unknown key "__proto__"; keys are strategy, '],
  ['{"toString": 1}', ': unknown key "toString"; keys are strategy, '],
  ["[]", ": must be one JSON object"],
  ["null", ": must be one JSON object"],
  ["", ": line 1, column 1: a value expected"],
  ['{\n  "threshold": 400,\n}', ": line 3, column 1: a key in double quotes expected"],
  [new Uint8Array([0x7b, 0xff, 0x7d]), ": line 1, column 2: not UTF-8"],
])("a file with %j is refused", (content, message) => {
  expect(fileRefusal(content)).toStartWith(message);
});

test("a file of more than 64 KiB is refused", () => {
  expect(fileRefusal(`{}${" ".repeat((64 << 10) - 1)}`)).toContain("is larger than 65536 bytes");
  const config = write(`{}${" ".repeat((64 << 10) - 2)}`);
  loadConfig({ flags: { config }, env: {} });
});

test("a bad value is refused although a flag outdoes it", () => {
  const config = write('{"threshold": 0}');
  expect(refusal({ flags: { config, threshold: "7" } }).message).toContain("threshold cannot be 0");
});

test("a misspelled variable is refused; a stranger's with our prefix is not", () => {
  expect(refusal({ env: { OFFSETOF_TRESHOLD: "7" } }).message).toBe(
    'unknown variable OFFSETOF_TRESHOLD, did you mean "OFFSETOF_THRESHOLD"?',
  );
  loadConfig({ flags: {}, env: { OFFSETOF_SERVICE_HOST: "10.0.0.1", OFFSETOF_PORT: "tcp://10.0.0.1:80" } });
});

/** Fit by itself; only what is done to it or to its surroundings makes it unfit. */
const plain = '{"threshold": 7}';

test.each<[name: string, prepare: () => string, reason: string | null]>([
  ["of this user", () => write(plain), null],
  ["writable by the group", () => mode(write(plain), 0o664), "can be written by group or others"],
  ["writable by all", () => mode(write(plain), 0o646), "can be written by group or others"],
  ["of a user that is not root", () => owned(write(plain), 65534), "belongs to user 65534"],
  [
    "in a folder that all may write to",
    () => inside("open", 0o777),
    "/open can be written by group or others",
  ],
  ["in a sticky folder such as /tmp", () => inside("sticky", 0o1777), null],
  [
    "in another user's folder",
    () => owned(inside("foreign", 0o755), 65534, ".."),
    "/foreign belongs to user",
  ],
  ["behind a link", () => link("link", write(plain)), null],
  ["behind a relative link", () => link("relative", `../${relativeTo(write(plain))}`), null],
  ["behind another user's link", () => owned(link("theirs", write(plain)), 65534), "belongs to user 65534"],
  [
    "behind a link into an open folder",
    () => link("astray", inside("open", 0o777)),
    "/open can be written by",
  ],
  ["behind a loop", () => link("loop", join(folder, "loop")), "cannot be read: ELOOP"],
  ["that is a folder", () => folder, "is not a regular file"],
  ["that is a device", () => "/dev/zero", "is not a regular file"],
  ["that is a FIFO", () => fifo("fifo"), "is not a regular file"],
  ["that is not there", () => join(folder, "nothing"), "is not there; --config needs a file"],
])("a file %s", (_, prepare, reason) => {
  const config = prepare();
  if (reason === null) {
    expect(loadConfig({ flags: { config }, env: {} }).threshold).toEqual({ value: 7, from: config });
  } else {
    const { code, exit, message } = refusal({ flags: { config } });
    expect({ code, exit }).toEqual({ code: "E_CONFIG", exit: 2 });
    expect(message).toStartWith(config);
    expect(message).toContain(reason);
  }
});

function mode(path: string, bits: number): string {
  chmodSync(path, bits); // writeFileSync's mode is subject to the umask
  return path;
}

function owned(path: string, user: number, of = ""): string {
  if (of === "") Bun.spawnSync(["chown", "-h", String(user), path]);
  else chownSync(join(path, of), user, 0);
  return path;
}

function inside(name: string, bits: number): string {
  rmSync(join(folder, name), { recursive: true, force: true });
  mkdirSync(join(folder, name));
  mode(join(folder, name), bits);
  return write(plain, join(name, "offsetof.json"));
}

function link(name: string, target: string): string {
  const path = join(folder, name);
  rmSync(path, { force: true });
  symlinkSync(target, path);
  return path;
}

const relativeTo = (path: string): string => path.split("/").slice(-2).join("/");

function fifo(name: string): string {
  const path = join(folder, name);
  rmSync(path, { force: true });
  Bun.spawnSync(["mkfifo", path]);
  return path;
}

test("the table in docs/configuration.md is the table of settings", async () => {
  const rows = settingKeys.map((key) => {
    const { allowed, standard, description } = settings[key];
    return `| \`${key}\` | ${allowed} | \`${JSON.stringify(standard)}\` | ${description} |\n`;
  });
  const page = await Bun.file(join(import.meta.dir, "../../../docs/configuration.md")).text();
  expect(page).toContain(`| key | allowed | default | |\n| --- | --- | --- | --- |\n${rows.join("")}\n`);
});
