/**
 * Text that a terminal shows as it is: control characters, which paths and version strings may carry to move the
 * cursor or recolour the screen, become `\x1b` and the like.
 */
export const printable = (text: string): string =>
  text.replace(/\p{C}/gu, (char) => `\\x${char.codePointAt(0)?.toString(16).padStart(2, "0")}`);
