import { type HostFiles, textOf } from "./files.ts";

/** The kernel's build options; an option that is not set is not in the map. */
export interface KernelConfig {
  readonly path: string;
  readonly options: ReadonlyMap<string, string>;
}

/** Gives the build options, which are read when they are asked for the first time: on few hosts they have to answer anything. */
export type LaterConfig = () => KernelConfig | undefined;

/** Largest unpacked config that is read, in bytes; Debian's has about 280 KB. */
const configLimit = 4 << 20;

/** Unpacks gzip. The module is loaded only when it is needed, since it brings the runtime's streams with it. */
const gunzip = (bytes: Uint8Array): Buffer =>
  process.getBuiltinModule("node:zlib").gunzipSync(bytes, { maxOutputLength: configLimit });

/** Reads the running kernel's config where the host has one: /proc/config.gz, then /boot. */
export function readConfig(files: HostFiles, release: string): KernelConfig | undefined {
  const packed = files.read("/proc/config.gz");
  if (packed.state === "read") {
    try {
      const text = gunzip(packed.bytes).toString();
      return { path: packed.path, options: parseConfig(text) };
    } catch {
      // Cut short or not gzip: the copies under /boot and /lib/modules may still serve.
    }
  }
  for (const path of [`/boot/config-${release}`, `/lib/modules/${release}/config`]) {
    const file = files.read(path, configLimit);
    const text = textOf(file);
    if (text !== undefined) return { path, options: parseConfig(text) };
  }
  return undefined;
}

/** Reads lines like `CONFIG_KPROBES=y`; everything else, `# CONFIG_X is not set` included, is left out. */
export function parseConfig(text: string): ReadonlyMap<string, string> {
  const options = new Map<string, string>();
  for (const [, name, value] of text.matchAll(/^(CONFIG_\w+)=(.*)$/gm)) {
    if (name !== undefined && value !== undefined) options.set(name, value);
  }
  return options;
}

/** The first of `names` that the config lacks, or undefined. */
export const missingOption = (config: KernelConfig, names: readonly string[]): string | undefined =>
  names.find((name) => !["y", "m"].includes(config.options.get(name) ?? ""));
