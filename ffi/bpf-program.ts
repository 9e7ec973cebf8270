import { type Address, check, type LibbpfCalls, ObjectPart, present } from "./libbpf-calls.ts";
import type { FileDescriptor } from "./libc.ts";

/** A program of an open object. */
export class BpfProgram extends ObjectPart {
  /** Leaves the program out of the next load, or takes it in again. @throws SystemError, ClosedError */
  setAutoload(load: boolean): void {
    check(this.library.symbols.bpf_program__set_autoload(this.live(), load), "bpf_program__set_autoload");
  }

  /** Runs the program at the entry of a kernel function; needs no tracefs on Linux 4.17 and newer. */
  attachKprobe(functionName: string): BpfLink {
    const link = this.library.symbols.bpf_program__attach_kprobe(this.live(), false, functionName);
    return this.#link(link, `kprobe:${functionName}`);
  }

  /** Runs the program where its section says, e.g. `tp_btf/inet_sock_set_state`. */
  attach(where: string): BpfLink {
    return this.#link(this.library.symbols.bpf_program__attach(this.live()), where);
  }

  /** Runs the program at a tracepoint with the tracepoint's own arguments. */
  attachRawTracepoint(tracepoint: string): BpfLink {
    const link = this.library.symbols.bpf_program__attach_raw_tracepoint(this.live(), tracepoint);
    return this.#link(link, `raw_tp:${tracepoint}`);
  }

  /** Runs the program at a tracepoint with the tracepoint's formatted record; needs tracefs. */
  attachTracepoint(category: string, tracepoint: string): BpfLink {
    const link = this.library.symbols.bpf_program__attach_tracepoint(this.live(), category, tracepoint);
    return this.#link(link, `tracepoint:${category}/${tracepoint}`);
  }

  /** Runs the program at an event of perf, which goes with the link. @param event its descriptor @param name for people */
  attachPerfEvent(event: FileDescriptor, name: string): BpfLink {
    const link = this.#link(
      this.library.symbols.bpf_program__attach_perf_event(this.live(), event.fd),
      `perf_event:${name}`,
    );
    event.release(); // libbpf closes it
    return link;
  }

  /**
   * Runs the program at the entry of a function of user space, in processes that run now and later.
   *
   * @param path the executable or library
   * @param offset of the function in the file, in bytes
   * @param pid the one process to watch, by its number in this process's pid namespace; every process without it
   */
  attachUprobe(path: string, offset: number, pid = -1): BpfLink {
    const { bpf_program__attach_uprobe: attach } = this.library.symbols;
    const link = attach(this.live(), false, pid, path, offset);
    return this.#link(link, `uprobe:${path}+0x${offset.toString(16)}`);
  }

  #link(address: Address | null, where: string): BpfLink {
    return new BpfLink(this.library, present(address, `attach ${this.name} to ${where}`), where);
  }
}

/** An attached program. Disposing of it detaches the program. */
export class BpfLink implements Disposable {
  #address: Address | null;
  readonly #library: LibbpfCalls;

  constructor(
    library: LibbpfCalls,
    address: Address,
    /** `kind:target`, as the document's `attached` shows it. */
    readonly where: string,
  ) {
    this.#library = library;
    this.#address = address;
  }

  [Symbol.dispose](): void {
    if (this.#address === null) return;
    this.#library.symbols.bpf_link__destroy(this.#address);
    this.#address = null;
  }
}
