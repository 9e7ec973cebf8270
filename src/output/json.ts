import type { Document } from "./document.ts";

/** The document as JSON, indented for reading, with a newline at the end. */
export const toJson = (document: Document): string => `${JSON.stringify(document, null, 2)}\n`;
