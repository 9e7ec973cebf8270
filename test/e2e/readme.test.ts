import { expect, test } from "bun:test";
import { dirname, join } from "node:path";
import { executable, repository, run, Scratch } from "./executable.ts";

const readme = await Bun.file(join(repository, "README.md")).text();
const recipes = /^## Recipes$([\s\S]*?)^## /m.exec(readme)?.[1] ?? "";
const scripts = [...recipes.matchAll(/^```sh\n([\s\S]*?)^```$/gm)].map(([, script = ""]) => script);

test("there are recipes", () => {
  expect(scripts.length).toBeGreaterThan(3);
});

test.each(scripts.map((script) => [script.split("\n")[0], script]))(
  "README's recipe works: %s",
  (_, script) => {
    using scratch = new Scratch();
    const env = { PATH: `${dirname(executable)}:/usr/sbin:/usr/bin:/sbin:/bin` };
    for (const shell of ["dash", "bash"]) {
      const { status, stderr } = run([shell, "-c", `set -eu\n${script}`], { cwd: scratch.path, env });
      expect({ status, stderr: stderr.replaceAll(/^\[warn\] .*\n/gm, "") }).toEqual({
        status: 0,
        stderr: "",
      });
    }
  },
);
