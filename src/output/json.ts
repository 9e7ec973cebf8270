import type { ConfigDocument, Document, GatewayDocument } from "./document.ts";

/** A document as JSON, indented for reading, with a newline at the end. */
export const toJson = (document: Document | ConfigDocument | GatewayDocument): string =>
  `${JSON.stringify(document, null, 2)}\n`;
