import { arch } from "../assets.ts";
import { addressings } from "../offsets/pointers.ts";

/** How the kernel that this executable was built for addresses its memory. */
export const addressing = addressings[arch];
