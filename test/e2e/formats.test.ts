import { beforeAll, describe, expect, test } from "bun:test";
import { realpathSync } from "node:fs";
import { join } from "node:path";
import * as v from "valibot";
import openssl from "../../assets/layouts/openssl.json" with { type: "json" };
import { debianPackage, fetchTimeout, loadSamples } from "../unit/tls/debian.ts";
import { documentOf, executable, run, Scratch } from "./executable.ts";

const library = () =>
  realpathSync(/libssl\S+ => (\S+)/.exec(run(["ldd", "/usr/bin/openssl"]).stdout)?.[1] ?? "");
const constantsOf = (...args: string[]) => {
  const { kernel, tls } = documentOf(run([executable, ...args]));
  return kernel?.constants ?? tls?.[0]?.constants ?? {};
};

describe.each(["dash", "bash"])("--format env in %s", (shell) => {
  const inShell = (script: string) => run([shell, "-c", `set -eu\n${script}`]);

  test("eval sets every constant that is known", () => {
    const known = Object.entries(constantsOf("kernel")).filter(([, value]) => value !== null);
    const names = known.map(([name]) => name.toUpperCase());
    const script = `eval "$(${executable} kernel --format env)"\necho ${names.map((name) => `$${name}`).join(" ")}`;
    expect(inShell(script)).toEqual({
      status: 0,
      stdout: `${known.map(([, value]) => value).join(" ")}\n`,
      stderr: "",
    });
    expect(known.length).toBeGreaterThan(30);
  });

  test("what is not known is not set, and stderr says why", () => {
    const script = `eval "$(${executable} kernel --source guess --bytecode old --collect-tcpv6 false --format env --only offset_daddr,offset_daddr_ipv6)"
      echo "$OFFSET_DADDR \${OFFSET_DADDR_IPV6-unset}"`;
    const { stdout, stderr } = inShell(script);
    expect(stdout).toMatch(/^\d+ unset\n$/);
    expect(stderr).toMatch(/^\[warn\] offset_daddr_ipv6: not known: guess: .*\n$/);
  });

  test("a library at an odd path is told as it is, and --export reaches children", () => {
    using scratch = new Scratch();
    const path = scratch.at('it\'s $(id) `id`\n"lib".so');
    run(["cp", library(), path]);
    const script = `cd ${scratch.path}; set -- *; eval "$(${executable} tls "$1" --format env --export)"
      sh -c 'printf "%s|%s|%s" "$TLS_0_PATH" "$TLS_COUNT" "$SSL_ST_RBIO"'`;
    expect(inShell(script)).toEqual({ status: 0, stdout: `${path}|1|16`, stderr: "" });
  });
});

describe("--format header", () => {
  beforeAll(loadSamples, fetchTimeout);

  /** Prints macros as a program does that was compiled with the header alone. */
  function valuesIn(header: string, macros: readonly string[]): Record<string, number> {
    using scratch = new Scratch();
    const rows = macros.map((macro) => `printf("%s %d\\n", "${macro}", (int)(${macro}));`).join("\n");
    const program = `#include <stdio.h>\n${header}\nint main(void) { ${rows} return 0; }\n`;
    const source = scratch.at("main.c");
    Bun.spawnSync(["tee", source], { stdin: Buffer.from(program), stdout: "ignore" });
    const flags = ["-std=c99", "-pedantic", "-Wall", "-Wextra", "-Werror"];
    const compiled = run(["cc", ...flags, "-o", scratch.at("main"), source]);
    expect(compiled.stderr).toBe("");
    const lines = run([scratch.at("main")])
      .stdout.trimEnd()
      .split("\n");
    return Object.fromEntries(lines.map((line) => [line.split(" ")[0] ?? "", Number(line.split(" ")[1])]));
  }

  test("the kernel's compiles to the numbers of the document", () => {
    const known = Object.entries(constantsOf("kernel")).filter(([, value]) => value !== null);
    const expected = Object.fromEntries(known.map(([name, value]) => [name.toUpperCase(), value]));
    const { stdout } = run([executable, "kernel", "--format", "header"]);
    expect(valuesIn(stdout, Object.keys(expected))).toEqual(
      v.parse(v.record(v.string(), v.number()), expected),
    );
  });

  test.each([
    ["bookworm", "libssl3", "openssl_3_0_0"],
    ["trixie", "libssl3t64", "openssl_3_5_0"],
  ] as const)("%s's %s: the published group, macro by macro and in its order", (suite, name, group) => {
    const { root } = debianPackage(suite, "amd64", name);
    const path = join(root, "usr/lib/x86_64-linux-gnu/libssl.so.3");
    const { stdout, status } = run([executable, "tls", path, "--format", "header", "--allow", "assumed"]);
    // What only the table tells is marked; whether it has this very version depends on which one the suite has by now.
    expect(stdout.includes("\n// assumed: ") ? [0, 3] : [0]).toContain(status);
    const published: Record<string, number | null> = openssl.groups[group].constants;
    const macros = Object.keys(published);
    expect(valuesIn(stdout, macros)).toEqual(v.parse(v.record(v.string(), v.number()), published));

    const defined = [...stdout.matchAll(/^\/\/ (.*)\n(?:\/\/ assumed: .*\n)?#define (\w+) 0x[\da-f]+$/gm)];
    expect(defined.map(([, , macro]) => macro).slice(0, macros.length)).toEqual(macros);
    const members: Record<string, string> = openssl.members;
    for (const [, member, macro = ""] of defined.slice(0, macros.length)) {
      expect(member).toBe(members[macro]?.replace(/^(\w+)\./, "$1->") ?? "");
    }
  });

  test("several libraries are wrong usage that names them", () => {
    using scratch = new Scratch();
    for (const name of ["a.so", "b.so"]) run(["cp", library(), scratch.at(name)]);
    const paths = [scratch.at("a.so"), scratch.at("b.so")];
    const { status, stdout, stderr } = run([executable, "tls", ...paths, "--format", "header"]);
    expect({ status, stdout }).toEqual({ status: 2, stdout: "" });
    expect(stderr).toContain(`2 were found (${paths.join(", ")}): name one, "offsetof tls PATH"`);
  });
});

describe("--get and --only", () => {
  test("--get prints the bare number", () => {
    const value = constantsOf("kernel").offset_sport;
    for (const args of [["kernel"], []]) {
      const result = run([executable, ...args, "--get", "offset_sport"]);
      expect(result).toEqual({ status: 0, stdout: `${value}\n`, stderr: "" });
    }
    expect(run([executable, "tls", library(), "--get", "SSL_ST_RBIO"]).stdout).toBe("16\n");
  });

  test("--get of what is not known prints nothing, says why and ends with 3", () => {
    const args = ["kernel", "--source", "guess", "--collect-tcpv6", "false"];
    const unknown = run([executable, ...args, "--get", "offset_daddr_ipv6"]);
    expect(unknown).toMatchObject({ status: 3, stdout: "" });
    expect(unknown.stderr).toMatch(/^\[warn\] offset_daddr_ipv6: not known: guess: /);
    const other = run([executable, "tls", library(), "--get", "BSSL__SSL3_STATE_HS"]);
    expect(other).toEqual({
      status: 3,
      stdout: "",
      stderr: `[warn] BSSL__SSL3_STATE_HS: ${library()} (openssl) has none\n`,
    });
  });

  test("--get prints what is assumed, says so and ends with 3", () => {
    const args = ["tls", "--version-text", "openssl 3.0.99", "--get", "SSL_ST_RBIO"];
    const { status, stdout, stderr } = run([executable, ...args]);
    expect({ status, stdout }).toEqual({ status: 3, stdout: "16\n" });
    expect(stderr).toStartWith("[warn] SSL_ST_RBIO: assumed: ");
  });

  test("--only of a constant that nothing here has ends with 3 and says so", () => {
    const ask = [executable, "tls", "--version-text", "openssl 3.5.7", "--only"];
    const json = run([...ask, "SSL_CONNECTION_ST_RBIO,SSL_ST_RBIO"]);
    expect(json.status).toBe(3);
    const document = documentOf(json);
    expect(document.tls?.[0]?.constants).toEqual({ SSL_CONNECTION_ST_RBIO: 80 });
    expect(document.diagnostics).toContainEqual({
      code: "E_ONLY",
      message: "not known: SSL_ST_RBIO: no library that was found has it",
    });
    const env = run([...ask, "SSL_CONNECTION_ST_RBIO,SSL_ST_RBIO", "--format", "env"]);
    expect(env.status).toBe(3);
    expect(env.stderr).toContain("E_ONLY not known: SSL_ST_RBIO");
    expect(run([...ask, "SSL_CONNECTION_ST_RBIO"]).status).toBe(0);
  });

  test("--only keeps these constants, and looks at no part that has none of them", () => {
    const document = documentOf(run([executable, "--only", "offset_rtt,OFFSET_RTT_VAR"]));
    expect(Object.keys(document.kernel?.constants ?? {})).toEqual(["offset_rtt", "offset_rtt_var"]);
    expect(Object.keys(document.kernel?.fields ?? {})).toEqual(["offset_rtt", "offset_rtt_var"]);
    expect(document.tls).toBeUndefined();
  });

  test.each([
    [["--get", "offset_dadr"], 'no constant is named "offset_dadr", did you mean "offset_daddr"?'],
    [["kernel", "--only", "offset_daddr,ofset_saddr"], 'did you mean "offset_saddr"?'],
    [["kernel", "--get", "SSL_ST_RBIO"], 'no constant is named "SSL_ST_RBIO"'],
    [["tls", "--only", ""], '--only: no constant is named ""'],
    [["--get", "offset_daddr", "--format", "env"], "--get prints one bare number"],
    [["--get", "offset_daddr", "--only", "offset_daddr"], "--get prints one bare number"],
    [["kernel", "--export"], "--export is for --format env"],
    [["config", "--format", "env"], '--format cannot be "env": json or table'],
    [["config", "--get", "threshold"], 'unknown flag "--get"'],
  ])("%p is wrong usage", (args, message) => {
    const { status, stdout, stderr } = run([executable, ...args]);
    expect({ status, stdout }).toEqual({ status: 2, stdout: "" });
    expect(stderr.replaceAll('\\"', '"')).toContain(message);
  });
});
