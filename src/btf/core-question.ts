/** What a relocation asks for: enum bpf_core_relo_kind of include/uapi/linux/bpf.h, in the order of its values. */
export const questions = [
  "offset",
  "size",
  "exists",
  "signed",
  "left shift",
  "right shift",
  "local type id",
  "type id",
  "type exists",
  "type size",
  "value exists",
  "value",
  "type matches",
] as const;
export type CoreQuestion = (typeof questions)[number];
