import { expect, test } from "bun:test";
import { join } from "node:path";
import { assets } from "../../assets/build/paths.ts";
import { bootGuest, guestTimeout, text } from "./guest.ts";
import { chosenKernels, loadKernel } from "./kernels.ts";

for (const row of chosenKernels()) {
  test(
    `${row.name}: a function that the compiler split is probed by a piece of it`,
    async () => {
      const built = await Bun.build({
        entrypoints: [join(import.meta.dir, "split.program.ts")],
        target: "bun",
      });
      const [program] = built.outputs;
      if (program === undefined) throw new Error("nothing was built");
      // A function that is there in one piece only, under a name with .isra.0, and an absent one.
      const pieces = "grep -oE ' t [a-z0-9_]+\\.isra\\.0$' /proc/kallsyms | cut -c4- | grep '^tcp_'";
      const find = `for piece in $(${pieces}); do name=\${piece%.isra.0}; grep -qE " [tT] $name(\\$|[.]constprop)" /proc/kallsyms || { echo $name; break; }; done`;
      const attach = "/opt/bun /opt/split.js /opt/libbpf.so /opt/socket_guess.o";
      const { results } = await bootGuest({
        kernel: await loadKernel(row),
        commands: [`name=$(${find}); echo $name; ${attach} $name`, `${attach} no_such_function`],
        files: {
          "/opt/bun": { from: process.execPath },
          "/opt/split.js": { content: await program.text() },
          "/opt/libbpf.so": { from: join(assets, "lib/x64/libbpf.so") },
          "/opt/socket_guess.o": { from: join(assets, "bpf/x64/socket_guess.o") },
        },
      });
      const [found, absent] = results;
      if (found === undefined || absent === undefined) throw new Error("two results");
      const [name, where] = text(found.stdout).trim().split("\n");
      expect(text(found.stderr)).toBe("");
      expect(where).toBe(`kprobe:${name}.isra.0`);
      expect(text(absent.stderr)).toContain("to kprobe:no_such_function: ENOENT");
      expect(absent.status).not.toBe(0);
    },
    guestTimeout,
  );
}
