import {
  array,
  at,
  type CType,
  char,
  pointer,
  s16,
  s32,
  struct,
  typedef,
  u8,
  u16,
  u32,
  u64,
  ulong,
} from "../synthetic/ctype.ts";

/** include/linux/uidgid.h. */
export const kuid = typedef("kuid_t", struct("", 4, at(0, "val", u32)));
export const kgid = typedef("kgid_t", struct("", 4, at(0, "val", u32)));
/** A set of capabilities, since Linux 6.3 one number of 64 bits, before two of 32: include/linux/capability.h. */
export const kernelCap = typedef("kernel_cap_t", struct("", 8));
export const s64: CType = { kind: "int", name: "long long int", size: 8, isSigned: true };
/** include/linux/types.h. */
export const atomic = typedef("atomic_t", struct("", 4, at(0, "counter", s32)));
export const atomic64 = typedef("atomic64_t", struct("", 8, at(0, "counter", s64)));
/** include/linux/skbuff.h: of 64 bits, where a buffer's places are counted from its beginning. */
export const skBuffData = typedef("sk_buff_data_t", u32);
export const comm = array(char, 16);
export const protoName = array(char, 32);
export const to = pointer;
export { s16, s32, u8, u16, u32, u64, ulong };
