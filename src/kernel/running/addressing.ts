import { addressings } from "../../offsets/pointers.ts";
import { arch } from "../../self/assets.ts";

/** How the kernel that this executable was built for addresses its memory. */
export const addressing = addressings[arch];
