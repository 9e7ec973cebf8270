import { join } from "node:path";

/** The top of the checkout. */
export const repository = join(import.meta.dir, "../..");

/** Where the built assets are. */
export const assets = join(repository, "assets");

/** Processor architectures by the names that Bun and the kernel's build use. */
export const architectures = [
  { name: "x64", define: "__TARGET_ARCH_x86", zig: "x86_64", headers: "x86-linux-any" },
  { name: "arm64", define: "__TARGET_ARCH_arm64", zig: "aarch64", headers: "aarch64-linux-any" },
] as const;
