import { closeSync, openSync, readFileSync, readlinkSync, readSync } from "node:fs";
import { resolve } from "node:path";
import { memoryFile } from "../../ffi/descriptors.ts";
import { SystemError } from "../../ffi/error.ts";
import type { FileDescriptor } from "../../ffi/libc.ts";
import { nameOf, shownName } from "../input/name.ts";
import { Failure } from "../output/failure.ts";
import { askArgument } from "../self/child-arguments.ts";
import { ownProgram } from "../self/executable.ts";
import { now } from "../self/whereabouts.ts";
import { isOther, isOthers, pidsOf } from "./others.ts";
import { awaitedDevices, type Questions } from "./stuck-askers.ts";

const ETIMEDOUT = 110;

/** A mount of a mount namespace (proc_pid_mountinfo(5)). */
export interface MountPoint {
  /** Its number, which no other mount of this kernel has. */
  readonly id: string;
  /** The device of its file system, as /proc/PID/maps writes it: `00:2d`. */
  readonly device: string;
  /** The folder or file it is mounted on, in the namespace it is of. */
  readonly point: string;
  /** The file system's type, such as `fuse.sshfs`. */
  readonly type: string;
  /** The user whose program serves it; null where there is none, or the kernel does not tell. */
  readonly user: number | null;
}

/** Types of file systems that some server answers for, over a network or as a program. */
const served =
  /^(fuse|fuseblk|fuse\..*|nfs4?|cifs|smb3?|smbfs|9p|ceph|glusterfs|lustre|afs|coda|ncpfs|gfs2|ocfs2|beegfs|gpfs|virtiofs|orangefs|pvfs2|panfs)$/;

const line = /^(\d+) \d+ (\d+):(\d+) \S+ (\S+) .*? - (\S+) (?:.* )?(\S*)$/;
const hex = (decimal = ""): string => Number(decimal).toString(16).padStart(2, "0");

/** The mounts of a mountinfo. Lines of any other form are passed over. */
export const parseMounts = (text: string): readonly MountPoint[] =>
  text.split("\n").flatMap((each) => {
    const [, id, major, minor, point, type, options = ""] = line.exec(each) ?? [];
    if (id === undefined || point === undefined || type === undefined) return [];
    const name = point.replace(/\\([0-7]{3})/g, (_, octal) => String.fromCharCode(Number.parseInt(octal, 8)));
    const user = /(?:^|,)user_id=(\d+)(?:,|$)/.exec(options)?.[1];
    return [
      {
        id,
        device: `${hex(major)}:${hex(minor)}`,
        point: nameOf(Buffer.from(name, "latin1")),
        type,
        user: user === undefined ? null : Number(user),
      },
    ];
  });

/** A file system that has a server. */
interface Served extends Pick<MountPoint, "type" | "user"> {
  /** What to call it: the first of its mount points. */
  readonly name: string;
}

/** A file system whose server does not answer, or may choose not to. */
interface Dead extends Served {
  /** Numbers of its mounts. */
  readonly ids: Set<string>;
  /** Its mount points, as this host calls them. */
  readonly points: Set<string>;
  /** Files that were not looked at because they lie on it. */
  readonly skipped: Set<string>;
}

/** The dead file systems by their device, as they were when they were asked last. */
let dead: ReadonlyMap<string, Dead> = new Map();

/** A file that is not looked at because the server of the mount it lies on does not answer. */
export class DeadMountError extends SystemError {
  readonly reason: string;

  constructor(path: string, mount: Served) {
    super(`open ${path}`, ETIMEDOUT, reasonOf(mount));
    this.reason = reasonOf(mount);
  }
}

const isForeign = ({ user }: Pick<MountPoint, "user">): boolean => user !== null && isOther(user);

const reasonOf = (mount: Served): string => {
  const { name, type, user } = mount;
  const why = isForeign(mount)
    ? `is a program of user ${user}, which could hold this run for ever`
    : "does not answer";
  return `the server of the mount ${shownName(name)} (${type}) ${why}`;
};

/** Milliseconds between two looks at the answers, and without a new one, after which the next mounts are asked by one more child. */
const [pause, patience] = [5, 100];
const mostChildren = 32;

/**
 * Asks each mounted file system that has a server whether that answers, for so many milliseconds at most. From then on files on one that
 * did not answer are skipped, and files on one that a program of another user serves: that program could answer now and not when a file
 * is opened, and a process that waits for it cannot even be killed. Child processes ask, and only where there are such mounts. A child
 * that gets no answer may not be killable either: it is left behind, ends when the server or its mount is gone, and tells until then
 * that this one need not be asked (stuck-askers.ts).
 *
 * @param proc where procfs is mounted; null: only this process's own mounts are asked
 */
export async function askMounts(proc: string | null, milliseconds: number): Promise<void> {
  const systems = new Map<string, Dead>();
  const questions: Questions = [];
  const isAwaited = awaited(proc ?? "/proc");
  for (const { root, mounts } of namespaces(proc)) {
    for (const { id, device, point, type, user } of mounts) {
      const path = `${root}${point}`;
      if (!systems.has(device) && !isForeign({ user }) && !isAwaited(device)) questions.push([path, device]);
      const system = systems.get(device) ?? {
        name: path,
        type,
        user,
        ids: new Set(),
        points: new Set(),
        skipped: new Set(),
      };
      system.ids.add(id);
      system.points.add(path);
      systems.set(device, system);
    }
  }
  const answers = questions.length === 0 ? [] : await answersOf(questions, milliseconds);
  const answered = new Set(
    questions.filter((_, index) => answers[index] === true).map(([, device]) => device),
  );
  dead = new Map([...systems].filter(([device]) => !answered.has(device)));
}

/** Checks that the mounts answer on which a file lies that a person named. @throws Failure E_MOUNT where one does not */
export async function checkNamed(path: string): Promise<void> {
  try {
    await checkAnswers(resolve(path), 1000);
  } catch (error) {
    if (!(error instanceof DeadMountError)) throw error;
    throw new Failure("E_MOUNT", `${path} is not read: ${error.reason}`);
  }
}

/**
 * Asks the mounts of this process that have a server and that a path lies below by its name, before the path is read.
 *
 * @param path absolute @throws DeadMountError where one does not answer in time, or is served by a program of another user
 */
export async function checkAnswers(path: string, milliseconds: number): Promise<void> {
  const above = [...namespaces(null)]
    .flatMap(({ mounts }) => mounts)
    .filter(({ point }) => `${path}/`.startsWith(`${point}/`));
  if (above.length === 0) return;
  const isAwaited = awaited("/proc");
  const isHopeless = (mount: MountPoint): boolean => isForeign(mount) || isAwaited(mount.device);
  const answers = above.some(isHopeless)
    ? []
    : await answersOf(
        above.map(({ point, device }) => [point, device]),
        milliseconds,
      );
  const silent = above.find((mount, index) => isHopeless(mount) || answers[index] !== true);
  if (silent !== undefined) throw new DeadMountError(path, { ...silent, name: silent.point });
}

/** Whether a device is awaited by an asker of an earlier run; processes are looked through when the first is asked for. */
function awaited(proc: string): (device: string) => boolean {
  let devices: ReadonlySet<string> | undefined;
  return (device) => {
    devices ??= awaitedDevices(proc);
    return devices.has(device);
  };
}

/** Whether each mount was answered for in time. */
async function answersOf(asked: Questions, milliseconds: number): Promise<readonly boolean[]> {
  using questions = memoryFile("mounts", Buffer.from(JSON.stringify(asked)));
  using answers = memoryFile("answers", new Uint8Array(asked.length));
  const bytes = new Uint8Array(asked.length);
  const children: Bun.Subprocess[] = [];
  const end = now() + milliseconds;
  try {
    for (let [from, seen, since] = [0, -1, 0]; ; await Bun.sleep(pause)) {
      readSync(answers.fd, bytes, 0, bytes.length, 0);
      if (now() >= end || !bytes.includes(0)) return [...bytes].map((byte) => byte === 1);
      // The first mount for which the youngest child has no answer yet.
      const silent = bytes.indexOf(0, from);
      const isStuck = children.length === 0 || (silent === seen && now() - since >= patience);
      if (isStuck && silent >= 0 && seen + 1 < asked.length && children.length < mostChildren) {
        from = seen + 1;
        children.push(start(from, questions, answers));
        [seen, since] = [from, now()];
      } else if (silent !== seen) [seen, since] = [silent, now()];
    }
  } finally {
    for (const child of children) child.kill("SIGKILL");
  }
}

/** A process that asks from the one with that index on. It holds nothing that somebody waits for. */
function start(from: number, questions: FileDescriptor, answers: FileDescriptor): Bun.Subprocess {
  // What it prints fails: there may be no /dev/null here.
  const nowhere = openSync("/", "r");
  try {
    const child = Bun.spawn([...ownProgram, askArgument, String(from)], {
      cwd: "/",
      env: {},
      stdio: [questions.fd, answers.fd, nowhere],
    });
    child.unref();
    return child;
  } finally {
    closeSync(nowhere);
  }
}

/**
 * The mounts with servers of this process, and of each other mount namespace of the procfs: first of those in which processes of
 * root's or this user's are, so that no other user's silence takes the time from them.
 */
function* namespaces(proc: string | null): Generator<{ root: string; mounts: readonly MountPoint[] }> {
  const seen = new Set<string>();
  const folders = proc === null ? [] : pidsOf(proc).map((pid) => `${proc}/${pid}`);
  const [own, others] = [false, true].map((isIt) =>
    folders.filter((folder) => isOthersFolder(folder) === isIt),
  );
  for (const folder of ["/proc/self", ...(own ?? []), ...(others ?? [])]) {
    try {
      const namespace = readlinkSync(`${folder}/ns/mnt`);
      if (seen.has(namespace)) continue;
      seen.add(namespace);
      const mounts = parseMounts(readFileSync(`${folder}/mountinfo`, "latin1"));
      yield {
        root: folder === "/proc/self" ? "" : `${folder}/root`,
        mounts: mounts.filter(({ type }) => served.test(type)),
      };
    } catch {} // gone, or not ours to see: then nothing of it is looked at either
  }
}

function isOthersFolder(folder: string): boolean {
  try {
    return isOthers(folder);
  } catch {
    return true; // gone
  }
}

/** @throws DeadMountError where a mount point of a dead one is reached by that name, which even to reach may block */
export function checkPath(path: string): void {
  for (const mount of dead.values()) if (mount.points.has(path)) skip(path, mount);
}

/** @throws DeadMountError where a handle (O_PATH) leads to a file on a dead mount, which to ask for anything would block */
export function checkHandle(fd: number, path: string): void {
  const mount = mountOf(`/proc/self/fdinfo/${fd}`);
  if (mount !== undefined) skip(path, mount);
}

/** Whether an open file of some process lies on a dead mount. @param fdinfo of it, in procfs @throws the system's error */
export const isOnDeadMount = (fdinfo: string): boolean => mountOf(fdinfo) !== undefined;

function mountOf(fdinfo: string): Dead | undefined {
  if (dead.size === 0) return undefined;
  const id = /^mnt_id:\s*(\d+)$/m.exec(readFileSync(fdinfo, "latin1"))?.[1] ?? "";
  return [...dead.values()].find(({ ids }) => ids.has(id));
}

/** @throws DeadMountError where a file of that device, as of /proc/PID/maps, lies on a dead mount */
export function checkDevice(device: string, path: string): void {
  const mount = dead.get(device);
  if (mount !== undefined) skip(path, mount);
}

function skip(path: string, mount: Dead): never {
  mount.skipped.add(path);
  throw new DeadMountError(path, mount);
}

/** How many of the skipped files a message names. */
const mostNamed = 3;

/** One line for each dead mount for which something was skipped since it was asked. */
export const deadMounts = (): readonly string[] =>
  [...dead.values()]
    .filter(({ skipped }) => skipped.size > 0)
    .map((mount) => {
      const { skipped } = mount;
      const first = [...skipped].map(shownName).slice(0, mostNamed).join(", ");
      const more = skipped.size > mostNamed ? ` and ${skipped.size - mostNamed} more` : "";
      return `${reasonOf(mount)}; not looked at: ${first}${more}`;
    });
