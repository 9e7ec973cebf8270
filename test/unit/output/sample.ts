import type { Document, TlsReport } from "../../../src/output/document.ts";
import { formatVersion } from "../../../src/output/schema-parts.ts";

const library: TlsReport = {
  path: "/usr/lib/lib\x1b[2Jssl.so.3",
  build_id: "abc",
  library: "openssl",
  version: "3.0.22",
  version_from: "libcrypto.so.3 .rodata",
  layout: "openssl_3_0_0",
  described: "openssl_3_0_0",
  match: "exact",
  bytecode: null,
  bytecode_reason: "neither the version nor the shape of its structs is known",
  used_by: [],
  constants: { SSL_ST_RBIO: 16 },
  fields: {
    SSL_ST_RBIO: { value: 16, member: "ssl_st.rbio", status: "single", evidence: { code: [16] } },
  },
  functions: {
    SSL_read: { address: 0x35a50, offset: 0x34a50, status: "single", evidence: { symbols: [0x35a50] } },
    ssl_log_secret: {
      address: null,
      offset: null,
      status: "unresolved",
      evidence: {},
      reason: "it has no symbol of ssl_log_secret",
    },
  },
};

/** The sample's library with something else about it. */
export const libraryWith = (more: Partial<TlsReport>): TlsReport => ({ ...library, ...more });

/** A document with a bit of everything. */
export const document: Document = {
  format_version: formatVersion,
  tool: { name: "offsetof", version: "0.1.0", arch: "x64", libc: "glibc" },
  host: {
    kernel: { release: "6.1.0-47-cloud-amd64", version: [6, 1, 170], distro: "debian", machine: "x86_64" },
    lockdown: null,
    btf: true,
    kprobes: false,
    raw_tracepoints: true,
    tracefs: null,
    privileges: [],
  },
  kernel: {
    bytecode: "socket_guess",
    strategy: "snapshot",
    attached: ["kprobe:tcp_getsockopt"],
    events: 24,
    duration_ms: 11.82,
    constants: { offset_family: 16, offset_rtt: null },
    fields: {
      offset_family: {
        value: 16,
        member: "sock_common.skc_family",
        status: "confirmed",
        evidence: { guess: [16], btf: [16] },
      },
      offset_rtt: {
        value: null,
        member: "tcp_sock.srtt_us",
        status: "unresolved",
        evidence: {},
        reason: "guess: 1624, 1632 not told apart",
      },
    },
  },
  tls: [library],
  diagnostics: [{ code: "W_LOCKDOWN_UNKNOWN", message: "securityfs is not mounted" }],
};
