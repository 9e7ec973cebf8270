import { readSync } from "node:fs";

/** A digest of the bytes of files, one after the other. @throws the system's error */
export function digestOf(fds: readonly number[]): string {
  const digest = new Bun.CryptoHasher("sha256");
  const bytes = Buffer.allocUnsafe(1 << 20);
  for (const fd of fds) {
    let at = 0;
    for (let got = -1; got !== 0; at += got) {
      got = readSync(fd, bytes, 0, bytes.length, at);
      digest.update(bytes.subarray(0, got));
    }
    digest.update(`${at}\n`); // where one ends
  }
  return digest.digest("hex");
}
