import { createHash } from "node:crypto";
import { writeFileSync } from "node:fs";
import { isIP } from "node:net";
import { join } from "node:path";
import * as v from "valibot";
import { readSettings } from "../../src/bytecode/assignments.ts";
import { chooseValues, subjectIn } from "../../src/bytecode/constants.ts";
import { type Config, configOf, loadConfig, settings } from "../../src/commands/settings.ts";
import { diffOf } from "../../src/fleet/differences.ts";
import { Merge } from "../../src/fleet/merged.ts";
import { piecesOf } from "../../src/fleet/pieces.ts";
import { answerBatch } from "../../src/gateway/batch.ts";
import { parseMounts } from "../../src/host/mounts.ts";
import { bytesOf, nameOf } from "../../src/input/name.ts";
import { formatIp } from "../../src/net/ip-text.ts";
import { diffSchema } from "../../src/output/diff-schema.ts";
import { type Earlier, earlierOf, readEither, readQuickly } from "../../src/output/earlier.ts";
import { mergeSchema } from "../../src/output/merge-schema.ts";
import { formatVersion } from "../../src/output/schema-parts.ts";
import { outcomeOf } from "../../src/tls/child/child.ts";
import { parseCache } from "../../src/tls/find/ldcache.ts";
import { parseMaps, pathsOf } from "../../src/tls/find/maps.ts";
import { boundsOf } from "../../src/tls/layouts/layouts.ts";
import { answerSchema } from "../../src/tls/probe/request.ts";
import { digestsIn } from "../../src/verify/key-log-file.ts";
import { document } from "../unit/output/sample.ts";
import {
  buildLibrary,
  inputName,
  type Opened,
  printedBy,
  same,
  sampleOf,
  type Target,
  unlessRefused,
  Wrong,
} from "./target.ts";

const samplesOf = (...texts: readonly string[]) => texts.map((text) => ({ bytes: Buffer.from(text) }));
const jsonSamplesOf = (...texts: readonly string[]) =>
  samplesOf(...texts).map((sample) => ({ ...sample, isJson: true }));

/** What the runtime's own reader makes of a text; undefined where that is no JSON to it. */
function jsonOf(text: string): unknown {
  try {
    return JSON.parse(text);
  } catch {
    return undefined;
  }
}

/** A member of an object that JSON.parse gave. */
const member = (value: unknown, key: string): unknown =>
  typeof value === "object" && value !== null && Object.hasOwn(value, key)
    ? Object.getOwnPropertyDescriptor(value, key)?.value
    : undefined;

/** A kernel's or a library's part. */
interface Told {
  readonly constants: Readonly<Record<string, number | null>>;
}

/** What these and the sample are merged into, in the form it is printed in. */
function merged(...others: readonly Earlier[]) {
  const merge = new Merge();
  for (const [index, one] of [earlierOf(document), ...others].entries()) merge.add(`machine ${index}`, one);
  return v.parse(mergeSchema, merge.result());
}

export const series: Target = {
  name: "series",
  what: "files of many documents, one behind the other (`merge`)",
  share: 40,
  open: async (folder): Promise<Opened> => {
    const path = join(folder, "series.ndjson");
    const [line, pretty] = [JSON.stringify(document), JSON.stringify(document, null, 2)];
    return {
      samples: samplesOf(`${line}\n${pretty}\n${line}\n`, `[${line},${line}]\n`),
      read: async ({ bytes }) => {
        writeFileSync(path, bytes);
        let rest = nameOf(bytes);
        for await (const { text } of piecesOf(path)) {
          // In order, nothing twice, and nothing lost but what is blank.
          const at = text === undefined ? -1 : rest.indexOf(text);
          if (text === undefined || rest.slice(0, at).trim() !== "") throw new Wrong("a piece is not there");
          rest = rest.slice(at + text.length);
          unlessRefused(() => readQuickly(text, inputName));
        }
        same("what is left", rest.trim(), "");
        return true;
      },
    };
  },
};

export const documents: Target = {
  name: "document",
  what: "documents of an earlier run: their constants, what differs, many merged",
  share: 110,
  open: async (): Promise<Opened> => ({
    samples: jsonSamplesOf(
      JSON.stringify(merged()),
      JSON.stringify(document),
      JSON.stringify(document, null, 2),
      '{"format_version":"2.0","tool":{"arch":"x64"},"host":{"kernel":{"release":"6.1.0","version":[6,1,0]}},"kernel":{"constants":{"offset_daddr":4,"offset_rtt":null}}}',
    ),
    read: ({ bytes }) => {
      const either = readEither(nameOf(bytes), inputName);
      const parsed = jsonOf(bytes.toString().replace(/^\ufeff/, ""));
      if (parsed === undefined) throw new Wrong("what is no JSON was read");
      const parts = "kernels" in either ? member(parsed, "layouts") : parsed;
      const listed = (key: string, list: readonly Told[] = []) =>
        list.map((told, index) => ({ told, from: member(member(parts, key), String(index)) }));
      const subjects =
        "kernels" in either
          ? [...listed("kernels", either.kernels), ...listed("libraries", either.libraries)]
          : [
              ...(either.kernel === undefined
                ? []
                : [{ told: either.kernel, from: member(parsed, "kernel") }]),
              ...listed("tls", either.tls),
            ];
      for (const { told, from } of subjects)
        for (const [name, value] of Object.entries(told.constants))
          same(name, value, member(member(from, "constants"), name));
      if ("kernels" in either) return true;
      const source = either;
      same("the same, sooner", readQuickly(nameOf(bytes), inputName), source);
      merged(source);
      v.parse(diffSchema, {
        format_version: formatVersion,
        diff: diffOf(earlierOf(document), source),
        diagnostics: [],
      });
      if (source.kernel === undefined) return true;
      const subject = subjectIn(source, "kernel");
      const { values } = chooseValues(Object.keys(subject.constants), subject, {
        missing: true,
        assumed: false,
      });
      for (const [name, value] of values)
        if (value !== null) same(name, Number(value), subject.constants[name]);
      return true;
    },
  }),
};

export const configuration: Target = {
  name: "config",
  what: "configuration files",
  share: 70,
  open: async (folder): Promise<Opened> => {
    const path = join(folder, "config.json");
    return {
      samples: jsonSamplesOf(
        '{"threshold": 400, "deadline": 60000, "source": ["guess", "btf"], "trust": ["/opt/lib"]}',
        '{\n  "strategy": "stepwise",\n  "collect_tcpv6": false,\n  "proc_root": "/host/proc",\n  "retries": 2\n}\n',
      ),
      read: ({ bytes }) => {
        writeFileSync(path, bytes, { mode: 0o644 });
        const config: Config = configOf(loadConfig({ flags: { config: path }, env: {} }));
        const parsed = jsonOf(bytes.toString().replace(/^\ufeff/, ""));
        if (parsed === undefined) throw new Wrong("what is no JSON was read");
        for (const [key, value] of Object.entries(config))
          same(key, value, member(parsed, key) ?? member(member(settings, key), "standard"));
        return true;
      },
    };
  },
};

const hex = (bytes: number, seed: string): string =>
  createHash("sha512")
    .update(seed)
    .digest("hex")
    .slice(0, 2 * bytes);
const log = [
  `CLIENT_HANDSHAKE_TRAFFIC_SECRET ${hex(32, "a")} ${hex(32, "b")}`,
  `CLIENT_RANDOM ${hex(32, "c")} ${hex(48, "d")}\r`,
  "# a comment",
  `EXPORTER_SECRET ${hex(32, "a")} ${hex(48, "e")}`,
  "",
].join("\n");

export const keylogs: Target = {
  name: "keylog",
  what: "key logs (`verify --against`)",
  share: 130,
  open: async (): Promise<Opened> => ({
    samples: samplesOf(log),
    read: ({ bytes }) => {
      const told = digestsIn(bytes);
      const lines = bytes.toString("latin1").split("\n").slice(0, -1);
      const expected = new Map<string, Map<string, string>>();
      for (const line of lines) {
        const [, label = "", random = "", secret] =
          /^([A-Z_0-9]{1,40}) ([0-9a-f]{64}) ((?:[0-9a-f]{2}){32,64})\r?$/i.exec(line) ?? [];
        if (secret === undefined) continue;
        const key = random.toLowerCase();
        const digest = createHash("sha256").update(Buffer.from(secret, "hex")).digest("hex");
        expected.set(key, (expected.get(key) ?? new Map<string, string>()).set(label, digest));
      }
      same("the digests", told, expected);
      return told.size > 0;
    },
  }),
};

export const answers: Target = {
  name: "answer",
  what: "answers of the child that executes a library",
  share: 100,
  open: async (): Promise<Opened> => {
    const bounds = await boundsOf("openssl");
    const schema = answerSchema(bounds);
    const findings = [...bounds.keys()].slice(0, 8).map((constant, index) => ({
      constant,
      candidates: [8 * index],
      ...(index === 3 && { candidates: [], reason: "it has no SSL_version" }),
    }));
    return {
      samples: jsonSamplesOf(
        `${JSON.stringify({ answer: findings })}\n`,
        `${JSON.stringify({ failed: "SSL_new gave nothing" })}\n`,
        `${JSON.stringify({ refused: "no seccomp" })}\n`,
      ),
      read: ({ bytes }) => {
        const text = bytes.toString();
        const outcome = outcomeOf(text);
        if (outcome?.state !== "answered") return false;
        const result = v.safeParse(schema, outcome.answer);
        if (!result.success) return false;
        const parsed = member(jsonOf(text), "answer");
        for (const [index, { constant, candidates }] of result.output.entries()) {
          same("the constant", constant, member(member(parsed, String(index)), "constant"));
          same(constant, candidates, member(member(parsed, String(index)), "candidates"));
          if (candidates.some((offset) => !Number.isInteger(offset) || offset < 0 || offset >= 1 << 16))
            throw new Wrong(`${constant} at ${candidates}`);
        }
        return true;
      },
    };
  },
};

export const lines: Target = {
  name: "lines",
  what: "lines of `gateway --batch`, and values of `--set`",
  share: 60,
  open: async (): Promise<Opened> => ({
    samples: samplesOf(
      "10.0.0.1 10.0.0.2\nfe80::1%eth0 fe80::2%eth0 /run/netns/a b\n::ffff:1.2.3.4 8.8.8.8 123\n",
      "2001:db8::1 2001:db8::2\n\n0.0.0.0 192.0.2.1 /proc/1/ns/net\n",
    ),
    read: async ({ bytes }) => {
      let [asked, answered] = [0, ""];
      const halves = [bytes.subarray(0, bytes.length >> 1), bytes.subarray(bytes.length >> 1)];
      const { lines, errors } = await answerBatch(
        (async function* () {
          yield* halves;
        })(),
        {
          expect: () => {},
          way: ({ source, destination }) => {
            asked += 1;
            for (const end of [source, destination])
              if (end !== undefined && (isIP(end.text) === 0 || formatIp(end) !== end.text))
                throw new Wrong(`${end.text} is no address`);
            const reasons = {};
            return {
              ...{ netns: 1, route: "local", reasons, gateway: null, interface: null, subnet: null },
            };
          },
        },
        async (text) => {
          answered += text;
          return true;
        },
      );
      same("the lines", answered.split("\n").length - 1, lines);
      same("the errors", lines - asked, errors);
      for (const line of answered.split("\n").slice(0, -1))
        if (jsonOf(line) === undefined) throw new Wrong(`no line of JSON: ${line}`);
      unlessRefused(() => readSettings([bytes.toString()]));
      return asked > 0;
    },
  }),
};

const maps = `55d4f1c00000-55d4f1c28000 r--p 00000000 fe:00 1310 /usr/bin/bash
7f1c2a000000-7f1c2a0a0000 r-xp 00028000 fe:00 4401                       /usr/lib/libssl.so.3
7f1c2b000000-7f1c2b0a0000 r-xp 00028000 00:2d 77                         /opt/a\\012b (deleted)
7ffd00000000-7ffd00021000 rw-p 00000000 00:00 0                          [stack]
`;

export const mapped: Target = {
  name: "maps",
  what: "/proc/PID/maps, and the paths that a line may mean",
  share: 130,
  open: async (): Promise<Opened> => ({
    samples: samplesOf(maps),
    read: ({ bytes }) => {
      const text = nameOf(bytes);
      same("the bytes of a name", bytesOf(text).equals(bytes), true);
      const found = parseMaps(text);
      const rows = text.split("\n");
      for (const { range, device, inode, path } of found) {
        const [start = "", end = ""] = range.split("-");
        const where = new RegExp(`^0*${start}-0*${end} ..x`, "s");
        const isTold = rows.some(
          (row) => where.test(row) && row.includes(` ${device} ${inode} `) && row.endsWith(` ${path}`),
        );
        if (!isTold) throw new Wrong(`no line has ${path} at ${range}`);
        if (pathsOf(path).length > 200) throw new Wrong(`${pathsOf(path).length} paths`);
      }
      return found.length > 0;
    },
  }),
};

const mountinfo = `22 28 0:20 / /sys rw,nosuid,nodev,noexec,relatime shared:7 - sysfs sysfs rw
61 28 0:45 / /mnt/a\\040b rw,relatime shared:99 - fuse.sshfs me@there:/ rw,user_id=0
62 28 0:46 / /srv/nfs rw - nfs4 server:/export rw,vers=4.2
`;

export const mounts: Target = {
  name: "mountinfo",
  what: "/proc/PID/mountinfo",
  share: 130,
  open: async (): Promise<Opened> => ({
    samples: samplesOf(mountinfo),
    read: ({ bytes }) => {
      const text = bytes.toString("latin1");
      const found = parseMounts(text);
      if (found.length > text.split("\n").length) throw new Wrong("more mounts than lines");
      for (const { id, device, type } of found) {
        const isTold = text.includes(`${id} `) && text.includes(` - ${type} `);
        if (!isTold || !/^\d+$/.test(id) || !/^[0-9a-f]{2,}:[0-9a-f]{2,}$/.test(device))
          throw new Wrong(`no line has mount ${id} of device ${device} and type ${type}`);
      }
      return found.length > 0;
    },
  }),
};

/** What ldconfig prints of a cache: `soname (…) => path` a line; null where it complains. */
const printedCache = (path: string): readonly (readonly [string, string])[] | null =>
  printedBy(["ldconfig", "-p", "-C", path])
    ?.split("\n")
    .slice(1)
    .flatMap((line) => {
      const [, soname, file] = /^\t(\S*) \(.*?\) => (.*)$/.exec(line) ?? [];
      return soname === undefined || file === undefined ? [] : [[soname, file] as const];
    }) ?? null;

export const caches: Target = {
  name: "ldcache",
  what: "the dynamic linker's cache",
  share: 110,
  compared: 1000,
  open: async (folder): Promise<Opened> => {
    for (const name of ["liba.so.1", "libssl.so.3", "libcrypto.so.3"])
      buildLibrary(join(folder, "root/usr/lib"), name, "int f;", `-Wl,-soname,${name}`);
    const samples = (["new", "compat"] as const).map((format) => {
      // In a root of its own: a few entries make it quick.
      const root = join(folder, "root");
      Bun.spawnSync(["/sbin/ldconfig", "-X", "-r", root, "-c", format, "-C", `/${format}`]);
      return sampleOf(join(root, format));
    });
    const file = join(folder, "compared");
    return {
      samples: samples.map((sample) => ({ ...sample, hot: [[0, 256]] })),
      read: ({ bytes, isCompared }) => {
        const entries = parseCache(bytes, inputName);
        for (const { soname, path } of entries)
          for (const text of [soname, path])
            if (!bytes.includes(Buffer.concat([bytesOf(text), Buffer.of(0)])))
              throw new Wrong(`a text that is not there: ${text}`);
        const isPlain = entries.every(({ soname, path }) =>
          [soname, path].every((text) => /^[!-~]*$/.test(text)),
        );
        if (isCompared && isPlain) {
          writeFileSync(file, bytes);
          const printed = printedCache(file);
          // It prints libraries alone, and those of its own kind of cache.
          if (printed !== null && printed.length === entries.length)
            same(
              "the entries",
              entries.map(({ soname, path }) => [soname, path]),
              printed,
            );
        }
        return entries.length > 0;
      },
    };
  },
};
