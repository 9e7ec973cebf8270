import type { Baked, BytecodeList, ConfigDocument, Document, GatewayDocument, Verify } from "./document.ts";

/** A document as JSON, indented for reading, with a newline at the end. */
export const toJson = (
  document: Document | ConfigDocument | GatewayDocument | BytecodeList | Baked | Verify,
): string => `${JSON.stringify(document, null, 2)}\n`;
