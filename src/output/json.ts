/** A document as JSON, indented for reading, with a newline at the end. */
export const toJson = (document: { readonly format_version: string }): string =>
  `${JSON.stringify(document, null, 2)}\n`;
