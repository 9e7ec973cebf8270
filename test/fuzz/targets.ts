import { metadata, netlink, objects, relocations } from "./binary.ts";
import { dwarf } from "./dwarf.ts";
import { elf } from "./elf.ts";
import { image } from "./image.ts";
import { btf, host } from "./kernel.ts";
import type { Target } from "./target.ts";
import { answers, caches, configuration, documents, keylogs, lines, mapped, mounts, series } from "./text.ts";
import { code, tls } from "./tls.ts";

/** Every reader of bytes that come from outside. */
export const targets: readonly Target[] = [
  elf,
  code,
  tls,
  btf,
  dwarf,
  image,
  objects,
  relocations,
  caches,
  mapped,
  mounts,
  netlink,
  metadata,
  host,
  configuration,
  documents,
  series,
  keylogs,
  answers,
  lines,
];
