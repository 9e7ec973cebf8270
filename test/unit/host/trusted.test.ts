import { afterAll, describe, expect, test } from "bun:test";
import {
  chmodSync,
  chownSync,
  closeSync,
  mkdirSync,
  mkdtempSync,
  openSync,
  readFileSync,
  realpathSync,
  renameSync,
  rmSync,
  statSync,
  unlinkSync,
  writeFileSync,
} from "node:fs";
import { join } from "node:path";
import { Root } from "../../../src/host/root.ts";
import { checkExecutable, UntrustedError } from "../../../src/host/trusted.ts";
import { identityOf } from "../../../src/input/input.ts";
import { until } from "../../until.ts";

// Not below /tmp: there are to be no folders on the way but these.
const top = mkdtempSync("/var/lib/offsetof-trusted-");
chmodSync(top, 0o755);
afterAll(() => rmSync(top, { recursive: true }));
const somebody = 1234;

/** A fresh library in folders of root's. */
function plant(): string {
  const folder = mkdtempSync(join(top, "t-"));
  mkdirSync(join(folder, "usr/lib"), { recursive: true });
  for (const each of ["", "usr", "usr/lib"]) chmodSync(join(folder, each), 0o755);
  const path = join(folder, "usr/lib/libssl.so.3");
  writeFileSync(path, "a library");
  chmodSync(path, 0o644);
  return path;
}

interface Where {
  readonly root?: string;
  readonly deleted?: boolean;
}

/** Why the file is not executed; null where it is. `swap`: what happens once it is open. */
function refusal(
  path: string,
  named: readonly string[] = [],
  where: Where = {},
  swap = () => {},
): string | null {
  const { root = "/", ...rest } = where;
  using tree = new Root(root);
  const fd = openSync(join(root, path), "r");
  try {
    swap();
    const identities = () => named.map((one) => statSync(one, { bigint: true, throwIfNoEntry: false }));
    checkExecutable({ fd, tree, path, ...rest }, (identity) =>
      identities().some((stat) => stat !== undefined && identityOf(stat) === identity),
    );
    return null;
  } catch (error) {
    if (error instanceof UntrustedError) return error.message;
    throw error;
  } finally {
    closeSync(fd);
  }
}

const advice = (path: string) => `; --trust ${path} has it executed all the same`;

test("the machine's own library is executed", () => {
  expect(refusal(realpathSync("/usr/lib/x86_64-linux-gnu/libssl.so.3"))).toBeNull();
  expect(refusal(plant())).toBeNull();
});

describe("who could have written it is told, unless it is named", () => {
  const parent = (path: string, up: number): string => (up === 0 ? path : parent(join(path, ".."), up - 1));

  test.each<[name: string, up: number]>([
    ["the file", 0],
    ["its folder", 1],
    ["a folder above", 2],
    ["a folder further above", 3],
  ])("%s belongs to somebody, or all or its group may write to it", (_, up) => {
    for (const [change, message] of [
      [
        (at: string) => chownSync(at, somebody, 0),
        `belongs to user ${somebody}; it must belong to root (chown)`,
      ],
      [
        (at: string) => chmodSync(at, 0o757),
        "can be written by group or others; take that from them (chmod go-w)",
      ],
      [
        (at: string) => chmodSync(at, 0o775),
        "can be written by group or others; take that from them (chmod go-w)",
      ],
    ] as const) {
      const path = plant();
      const at = parent(path, up);
      change(at);
      expect(refusal(path)).toBe(`${at} ${message}${advice(path)}`);
      expect(refusal(path, [path])).toBeNull();
      expect(refusal(path, [join(path, "..")])).not.toBeNull();
    }
  });

  test("in a sticky folder the file decides", () => {
    const path = plant();
    chmodSync(join(path, ".."), 0o1777);
    expect(refusal(path)).toBeNull();
    chownSync(path, somebody, 0);
    expect(refusal(path)).toStartWith(`${path} belongs to user ${somebody}`);
  });
});

test("another file lies at the path by now: neither is executed, named or not", () => {
  for (const named of [false, true]) {
    const path = plant();
    const other = plant();
    const swapped = refusal(path, named ? [path] : [], {}, () => renameSync(other, path));
    expect(swapped).toBe(`${path} is another file by now`);
  }
});

test("a deleted library: its owner and the folder where it lay decide, a name does not", () => {
  const path = plant();
  expect(refusal(path, [], { deleted: true }, () => unlinkSync(path))).toBeNull();
  const theirs = plant();
  chownSync(theirs, somebody, 0);
  const belongs = `${theirs} belongs to user ${somebody}; it must belong to root (chown)`;
  expect(refusal(theirs, [theirs], { deleted: true }, () => unlinkSync(theirs))).toBe(belongs);
  const gone = plant();
  const folder = join(gone, "..");
  const told = `${folder} is gone, so nobody knows who could write to it`;
  expect(refusal(gone, [], { deleted: true }, () => rmSync(folder, { recursive: true }))).toBe(told);
});

describe("a file in memory", () => {
  /** Why it is not executed. @param how as memory.c is told */
  async function refusalInMemory(how: "plain" | "sealed" | "held", owner = 0): Promise<string | null> {
    const path = plant();
    const program = join(top, "memory");
    const compiled = Bun.spawnSync(["cc", "-o", program, join(import.meta.dir, "../tls/memory.c")]);
    expect(compiled.stderr.toString()).toBe("");
    await using process = Bun.spawn([program, how, path], { stdout: "pipe" });
    for await (const said of process.stdout) {
      expect(Buffer.from(said).toString()).toBe("ready\n");
      break;
    }
    const [, range] = /^(\S+) r-xp .*\/memfd:/m.exec(readFileSync(`/proc/${process.pid}/maps`, "utf8")) ?? [];
    const link = `/proc/${process.pid}/map_files/${range}`;
    chownSync(link, owner, 0);
    using tree = new Root("/");
    const fd = openSync(link, "r");
    try {
      checkExecutable({ fd, tree, path: "/memfd:anything", deleted: true }, () => false);
      return null;
    } catch (error) {
      return error instanceof UntrustedError ? error.message : String(error);
    } finally {
      closeSync(fd);
    }
  }

  test("is executed where root's processes alone have it, or where none can write to it", async () => {
    expect(await refusalInMemory("plain")).toBeNull();
    expect(await refusalInMemory("sealed")).toBeNull();
  });

  test("is not where another user made it, or has it open", async () => {
    const belongs = `belongs to user ${somebody}; it must belong to root (chown)`;
    expect(await refusalInMemory("plain", somebody)).toBe(`/memfd:anything ${belongs}`);
    expect(await refusalInMemory("sealed", somebody)).toBe(`/memfd:anything ${belongs}`);
    expect(await refusalInMemory("held")).toMatch(
      /^\/memfd:anything lies in memory, where process \d+ of another user may write to it$/,
    );
  });
});

test("what a program makes up to be root's is not executed", async () => {
  const path = plant();
  const server = join(top, "fuse");
  expect(Bun.spawnSync(["cc", "-O1", "-Wall", "-o", server, join(import.meta.dir, "fuse.c")]).success).toBe(
    true,
  );
  const mounted = Bun.spawn([server, path], { stdout: "pipe" });
  try {
    for await (const said of mounted.stdout) {
      expect(Buffer.from(said).toString()).toBe("ready\n");
      break;
    }
    expect(statSync(path)).toMatchObject({ uid: 0, size: 9, mode: 0o100644 });
    expect(refusal(path)).toBe(`${path} lies in a file system that a program makes up (FUSE)${advice(path)}`);
    expect(refusal(path, [path])).toBeNull();
  } finally {
    Bun.spawnSync(["umount", "--lazy", path]);
    mounted.kill();
  }
});

describe("in another tree", () => {
  test("its root counts, what lies above it does not", () => {
    const path = plant();
    const root = join(path, "../../..");
    chmodSync(join(root, ".."), 0o777);
    expect(refusal("/usr/lib/libssl.so.3", [], { root })).toBeNull();
    chmodSync(join(root, ".."), 0o755);
    chownSync(root, somebody, 0);
    expect(refusal("/usr/lib/libssl.so.3", [], { root })).toBe(
      `${root}/ belongs to user ${somebody}; it must belong to root (chown)${advice(path)}`,
    );
    expect(refusal("/usr/lib/libssl.so.3", [path], { root })).toBeNull();
  });

  test("a container's root that is somebody on this machine is not root", async () => {
    const path = plant();
    const root = join(path, "../../..");
    Bun.spawnSync(["chown", "-R", `${somebody}:${somebody}`, root]);
    // To itself it is root, and so are the files' owners.
    const inside = ["unshare", "--user", "--map-root-user", "--mount", "sleep", "600"];
    const container = Bun.spawn([
      "setpriv",
      `--reuid=${somebody}`,
      `--regid=${somebody}`,
      "--clear-groups",
      ...inside,
    ]);
    try {
      const tree = `/proc/${container.pid}/root`;
      await until(() => readFileSync(`/proc/${container.pid}/uid_map`, "utf8").includes(`${somebody}`));
      expect(refusal(path, [], { root: tree })).toStartWith(
        `${join(tree, path)} belongs to user ${somebody}`,
      );
      expect(refusal(realpathSync("/usr/lib/x86_64-linux-gnu/libssl.so.3"), [], { root: tree })).toBeNull();
    } finally {
      container.kill();
    }
  });
});

test("what is no regular file is never executed", () => {
  const path = plant();
  expect(refusal(join(path, ".."), [join(path, "..")])).toBe(`${join(path, "..")} is not a regular file`);
});
