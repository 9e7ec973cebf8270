import type { Library, Pointer } from "bun:ffi";
import { lastErrno } from "./bind.ts";
import { SystemError } from "./error.ts";

/** One row a function of libbpf 1.x that this project calls. Unless said otherwise a negative result is -errno. */
export const functions = {
  bpf_link__destroy: { args: ["ptr"], returns: "i32" },
  bpf_map__fd: { args: ["ptr"], returns: "i32" },
  bpf_map__map_flags: { args: ["ptr"], returns: "u32" },
  bpf_map__max_entries: { args: ["ptr"], returns: "u32" },
  bpf_map__set_max_entries: { args: ["ptr", "u32"], returns: "i32" },
  bpf_map__type: { args: ["ptr"], returns: "u32" },
  bpf_map__value_size: { args: ["ptr"], returns: "u32" },
  bpf_map_lookup_elem: { args: ["i32", "buffer", "buffer"], returns: "i32" },
  bpf_map_update_elem: { args: ["i32", "buffer", "buffer", "u64"], returns: "i32" },
  bpf_object__close: { args: ["ptr"], returns: "void" },
  bpf_object__find_map_by_name: { args: ["ptr", "cstring"], returns: "ptr" },
  bpf_object__find_program_by_name: { args: ["ptr", "cstring"], returns: "ptr" },
  bpf_object__load: { args: ["ptr"], returns: "i32" },
  bpf_object__open_mem: { args: ["buffer", "u64", "buffer"], returns: "ptr" }, // NULL with errno
  bpf_program__attach: { args: ["ptr"], returns: "ptr" }, // NULL with errno
  bpf_program__attach_kprobe: { args: ["ptr", "bool", "cstring"], returns: "ptr" }, // NULL with errno
  bpf_program__attach_perf_event: { args: ["ptr", "i32"], returns: "ptr" }, // NULL with errno
  bpf_program__attach_raw_tracepoint: { args: ["ptr", "cstring"], returns: "ptr" }, // NULL with errno
  bpf_program__attach_tracepoint: { args: ["ptr", "cstring", "cstring"], returns: "ptr" }, // NULL with errno
  bpf_program__attach_uprobe: { args: ["ptr", "bool", "i32", "cstring", "u64"], returns: "ptr" }, // NULL with errno
  bpf_program__set_autoload: { args: ["ptr", "bool"], returns: "i32" },
  libbpf_set_print: { args: ["ptr"], returns: "ptr" },
  perf_buffer__consume: { args: ["ptr"], returns: "i32" },
  perf_buffer__free: { args: ["ptr"], returns: "void" },
  perf_buffer__new: { args: ["i32", "u64", "ptr", "ptr", "ptr", "ptr"], returns: "ptr" }, // NULL with errno
  ring_buffer__consume: { args: ["ptr"], returns: "i32" },
  ring_buffer__free: { args: ["ptr"], returns: "void" },
  ring_buffer__new: { args: ["i32", "ptr", "ptr", "ptr"], returns: "ptr" }, // NULL with errno
} as const;

export type LibbpfCalls = Library<typeof functions>;

/** What a pointer of libbpf's is. */
export type Address = Pointer | bigint;

/** An object that programs and maps are of. */
export interface Opened {
  /** @throws ClosedError once it is closed */
  readonly address: Address;
}

/** A map or a program of an open object. Lives as long as its object. */
export class ObjectPart {
  readonly #object: Opened;
  readonly #address: Address;

  constructor(
    protected readonly library: LibbpfCalls,
    object: Opened,
    address: Address,
    protected readonly name: string,
  ) {
    this.#object = object;
    this.#address = address;
  }

  /** Its address, for libbpf's functions. @throws ClosedError once its object is closed */
  protected live(): Address {
    void this.#object.address;
    return this.#address;
  }
}

/** The result of a call that returns -errno. @throws SystemError */
export function check(result: number, call: string): number {
  if (result < 0) throw new SystemError(call, -result);
  return result;
}

/** The result of a call that returns NULL and sets errno. @throws SystemError */
export function present(result: Address | null, call: string): Address {
  if (result === null || result === 0n) throw new SystemError(call, lastErrno());
  return result;
}
present(1n, "nothing"); // as `check` of libc.ts
