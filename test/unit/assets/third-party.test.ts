import { describe, expect, test } from "bun:test";
import { join } from "node:path";
import { capstonePackage } from "../../../assets/build/capstone.ts";
import { inflatePackages } from "../../../assets/build/inflate.ts";
import { sourcePackages } from "../../../assets/build/libbpf.ts";
import { muslPackage } from "../../../assets/build/musl.ts";
import { repository } from "../../../assets/build/paths.ts";
import packageJson from "../../../package.json";

const notices = await Bun.file(join(repository, "THIRD_PARTY.md")).text();
/** Line breaks do not count. */
const plain = (text: string) => text.replaceAll(/\s+/g, " ");

describe("THIRD_PARTY.md names what the executable embeds", () => {
  test.each([...new Set([...sourcePackages, ...inflatePackages, muslPackage, capstonePackage])])(
    "$name, at the version that is built",
    ({ name, version }) => {
      expect(notices).toContain(`(Debian source package \`${name}\` ${version})`);
    },
  );

  test.each(Object.entries(packageJson.dependencies))("%s %s", async (name, version) => {
    const entry = new RegExp(`^(- \\*\\*${name}\\*\\*|## ${name}) ${RegExp.escape(version)}`, "im");
    expect(notices).toMatch(entry);
    // The package bun brings no licence file.
    const files = new Bun.Glob("**/*LICENSE*").scan({
      cwd: join(repository, "node_modules", name),
      absolute: true,
    });
    for await (const file of files) {
      const copyrights = (await Bun.file(file).text()).match(/Copyright (©|\(c\)) .*/g) ?? [];
      expect(copyrights).not.toEqual([]);
      for (const line of copyrights) expect(plain(notices)).toContain(plain(line).trim().replace(/\.$/, ""));
    }
  });
});
