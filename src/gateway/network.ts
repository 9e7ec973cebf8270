import { fstatSync, readFileSync, type Stats, statSync } from "node:fs";
import { open as openFile } from "../../ffi/descriptors.ts";
import { SystemError } from "../../ffi/error.ts";
import type { FileDescriptor } from "../../ffi/libc.ts";
import { withRemedy } from "../../ffi/remedies.ts";
import { bytesOf } from "../input/name.ts";
import { inside, isWithoutNamespaces, THREAD_NAMESPACE } from "../net/namespace.ts";
import type { NetlinkMonitor } from "../net/netlink.ts";
import { RouteNetlink, routeMonitor } from "../net/route.ts";
import { Failure } from "../output/failure.ts";
import { codeOf } from "../self/thrown.ts";

/** The sysctl that says by what IPv4 chooses among next hops; 0: by the two addresses alone. */
const HASH_POLICY = "/proc/sys/net/ipv4/fib_multipath_hash_policy";

/** Counts versions of routing, so that no two versions of any networks have one number. */
let versions = 0;

/** A network namespace that is asked about. Its sockets stay in it, this thread does not. */
export class AskedNetwork implements Disposable {
  readonly #owned: DisposableStack;
  readonly #enter: <Result>(act: () => Result) => Result;
  readonly #monitor: NetlinkMonitor;
  readonly netlink: RouteNetlink;
  #version = ++versions;

  /**
   * @param inode of the namespace, which nsfs keeps for it as long as this is open; null where there are none
   * @param namespace undefined: the one this thread is in
   */
  constructor(
    readonly inode: number | null,
    namespace?: { readonly file: FileDescriptor; readonly home: FileDescriptor },
  ) {
    using undo = new DisposableStack();
    const file = namespace && undo.use(namespace.file);
    this.#enter = (act) => (namespace && file ? inside(file, namespace.home, act) : act());
    const [netlink, monitor] = this.#enter(() => [undo.use(new RouteNetlink()), undo.use(routeMonitor())]);
    this.netlink = netlink;
    this.#monitor = monitor;
    this.#owned = undo.move();
  }

  /** Another number after each change of its routing; no two networks share one. */
  get version(): number {
    if (this.#monitor.changed()) this.#version = ++versions;
    return this.#version;
  }

  /** The number of the version as it was told last, without a look at the network. */
  get seen(): number {
    return this.#version;
  }

  /** Whether a packet from 127.0.0.0/8 may leave by an interface of this name (IN_DEV_ROUTE_LOCALNET). */
  routesLocalnet(link: string): boolean {
    const read = (name: string): string =>
      readFileSync(bytesOf(`/proc/sys/net/ipv4/conf/${name}/route_localnet`), "latin1").trim();
    return this.#enter(() => ["all", link].some((name) => read(name) !== "0"));
  }

  /** Whether an IPv4 flow's next hop follows from its two addresses. */
  choosesByAddresses(): boolean {
    return this.#enter(() => readFileSync(HASH_POLICY, "latin1").trim() === "0");
  }

  [Symbol.dispose](): void {
    this.#owned.dispose();
  }
}

/** Opens network namespaces by path or process. Closes this thread's own with its scope. */
export class Namespaces implements Disposable {
  /** Null where the kernel has no network namespaces: all is asked of the one network. */
  readonly #home = isWithoutNamespaces() ? null : openFile(THREAD_NAMESPACE);
  readonly #homeIdentity: Identity =
    this.#home === null ? { key: "", inode: null } : identityOf(THREAD_NAMESPACE);

  /** @param procRoot where procfs is mounted whose process numbers are meant */
  constructor(private readonly procRoot: string) {}

  /**
   * Finds a namespace by a path or a process's number, without one the thread's own. A name may lead to another
   * namespace at another time, so each use of it is looked up.
   * @returns its identity, and how to open it
   * @throws Failure E_NETNS where there is none or it cannot be entered
   */
  find(name: string | undefined): { readonly key: string; readonly open: () => AskedNetwork } {
    const path = name === undefined ? THREAD_NAMESPACE : this.#pathOf(name);
    const identity = name === undefined ? this.#homeIdentity : identityOf(path);
    const open = (): AskedNetwork =>
      identity.key === this.#homeIdentity.key
        ? new AskedNetwork(identity.inode)
        : attempt(path, () => this.#enter(path, identity));
    return { key: identity.key, open };
  }

  #enter(path: string, { key, inode }: Identity): AskedNetwork {
    using undo = new DisposableStack();
    const file = undo.use(openFile(bytesOf(path), path));
    if (this.#home === null || keyOf(fstatSync(file.fd)) !== key)
      throw new Failure("E_NETNS", `${path} changed meanwhile`);
    const network = new AskedNetwork(inode, { file, home: this.#home });
    undo.move();
    return network;
  }

  #pathOf(name: string): string {
    if (/^[1-9]\d{0,9}$/.test(name)) return `${this.procRoot}/${name}/ns/net`;
    if (name.startsWith("/")) return name;
    throw new Failure(
      "E_NETNS",
      `${JSON.stringify(name)} is no network namespace: give an absolute path or a process's number`,
      "usage",
    );
  }

  [Symbol.dispose](): void {
    this.#home?.[Symbol.dispose]();
  }
}

interface Identity {
  /** Device and inode as text; empty for the one network of a kernel without namespaces. */
  readonly key: string;
  readonly inode: number | null;
}

/** @throws Failure E_NETNS where nothing is there, or what no namespace can be: a pipe's open would block */
function identityOf(path: string): Identity {
  const stat = attempt(path, () => statSync(bytesOf(path)));
  if (!stat.isFile()) throw new Failure("E_NETNS", `${path} is no network namespace`);
  return { key: keyOf(stat), inode: stat.ino };
}

const keyOf = ({ dev, ino }: Stats): string => `${dev}:${ino}`;

function attempt<Result>(path: string, act: () => Result): Result {
  try {
    return act();
  } catch (error) {
    const errno = error instanceof SystemError ? error.code : codeOf(error);
    if (errno === undefined) throw error;
    const said = withRemedy(errno, error instanceof SystemError ? error.call : `open ${path}`, errno);
    switch (errno) {
      case "ENOENT":
      case "ESRCH":
        throw new Failure("E_NETNS", `${path} is not there (${errno})`);
      case "EINVAL": // setns: of another kind
        throw new Failure("E_NETNS", `${path} is no network namespace (${errno})`);
      case "EPERM":
      case "EACCES":
        throw new Failure("E_NETNS", `${path} cannot be entered: ${said}`, "impossible");
      default:
        throw new Failure("E_NETNS", `${path} cannot be entered: ${said}`);
    }
  }
}
