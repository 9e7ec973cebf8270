import { existsSync } from "node:fs";

/** A file of each network namespace, there unless the kernel has no IPv6 or was booted with ipv6.disable=1 (if6_proc_net_init). */
export const IPV6_INTERFACES = "/proc/self/net/if_inet6";

/** Whether this network namespace has IPv6. */
export const hasIpv6 = (): boolean => existsSync(IPV6_INTERFACES);
