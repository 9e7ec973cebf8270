import { describe, expect, test } from "bun:test";
import { version } from "../../package.json";
import { documentOf, errorOf, executable, run } from "./executable.ts";

describe("output", () => {
  test.each([[[]], [["run"]], [["run", "--format", "json"]], [["kernel"]], [["tls"]]])(
    "%p prints one valid document and nothing else on stdout",
    (args) => {
      const document = documentOf(run([executable, ...args]));
      expect(document.tool.version).toBe(version);
      expect(document.host.kernel.release).toBe(run(["uname", "-r"]).stdout.trim());
    },
  );

  test("--verbose talks on stderr, --quiet does not", () => {
    const verbose = run([executable, "--verbose"]);
    documentOf(verbose);
    expect(verbose.stderr).toContain("kprobes: ");
    expect(run([executable, "--quiet"]).stderr).toBe("");
  });

  test("a terminal gets a coloured table, unless NO_COLOR is set and not empty", () => {
    const onTerminal = (env: Record<string, string>) =>
      run(["script", "-qec", `${executable} kernel`, "/dev/null"], { env: { TERM: "xterm", ...env } }).stdout;
    const colour = "\x1b[32mconfirmed";
    expect(onTerminal({})).toContain(colour);
    expect(onTerminal({ NO_COLOR: "" })).toContain(colour);
    const refused = onTerminal({ NO_COLOR: "1" });
    expect(refused).toContain("confirmed");
    expect(refused).not.toContain("\x1b");
  });

  test("--help and --version answer on stdout", () => {
    expect(run([executable, "--version"])).toEqual({ status: 0, stdout: `${version}\n`, stderr: "" });
    const help = run([executable, "--help"]);
    expect(help).toMatchObject({ status: 0, stderr: "" });
    for (const word of ["run", "kernel", "tls", "--format"]) expect(help.stdout).toContain(word);
    expect(run([executable, "tls", "--help"]).stdout).toContain("offsetof tls");
  });
});

describe("failures", () => {
  test.each([[["--formt"]], [["kernal"]], [["run", "tls"]], [["--format", "yaml"]], [["--format"]]])(
    "%p is wrong usage: exit 2, empty stdout, one JSON object on stderr",
    (args) => {
      const result = run([executable, ...args]);
      expect(result).toMatchObject({ status: 2, stdout: "" });
      expect(errorOf(result)).toEqual({ code: "E_USAGE", message: expect.any(String) });
    },
  );

  test("a group needs a command behind it, and helps without one", () => {
    const result = run([executable, "bytecode"]);
    expect(errorOf(result).message).toBe("offsetof bytecode needs one of list, extract, edit behind it");
    expect([result.status, result.stdout]).toEqual([2, ""]);
    const help = run([executable, "bytecode", "--help"]);
    expect(help).toMatchObject({ status: 0, stderr: "" });
    for (const word of ["list", "extract", "edit"]) expect(help.stdout).toContain(`  bytecode ${word} `);
  });

  test("under --format table the error is one line", () => {
    const { status, stderr } = run([executable, "--format", "table", "--nosuch"]);
    expect({ status, stderr }).toEqual({
      status: 2,
      stderr: 'offsetof: unknown flag "--nosuch"; see "offsetof --help"\n',
    });
  });

  test("help is pointed to where it is", () => {
    const { stderr } = run([executable, "kernel", "--pid", "1", "--format", "table"]);
    expect(stderr).toBe('offsetof: unknown flag "--pid"; see "offsetof kernel --help"\n');
  });

  test("a reader that went away is no failure", () => {
    const late = `{ sleep 0.2; ${executable}; echo "status $?" >&2; } | true; sleep 0.5`;
    expect(run(["bash", "-c", late]).stderr).toMatch(/^status [03]\n$/);
  });

  test("an argument cannot send control characters to the terminal", () => {
    const { stderr } = run([executable, "\x1b[2J", "--format", "table"]);
    expect(stderr).toStartWith('offsetof: unknown command "\\x1b[2J"; commands are run, ');
  });
});
