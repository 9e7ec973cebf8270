#!/usr/bin/python3
# SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
"""Prints each TCP connection over IPv4 as it is established, with bcc.

    offsetof kernel --format header > offsets.h
    ./connections.py offsets.h
"""
import ctypes
import socket
import sys

from bcc import BPF

PROGRAM = r"""
struct event {
    u32 address;
    u16 port;
    u16 own_port;
};
BPF_PERF_OUTPUT(events);

RAW_TRACEPOINT_PROBE(inet_sock_set_state)
{
    const char *sk = (const char *)ctx->args[0];
    struct event event = {};
    u16 family = 0;

    if (ctx->args[2] != 1 /* TCP_ESTABLISHED */)
        return 0;
    bpf_probe_read_kernel(&family, sizeof(family), sk + OFFSET_FAMILY);
    if (family != 2 /* AF_INET */)
        return 0;
    bpf_probe_read_kernel(&event.address, sizeof(event.address), sk + OFFSET_DADDR);
    bpf_probe_read_kernel(&event.port, sizeof(event.port), sk + OFFSET_DPORT);
    bpf_probe_read_kernel(&event.own_port, sizeof(event.own_port), sk + OFFSET_NUM);
    events.perf_submit(ctx, &event, sizeof(event));
    return 0;
}
"""


class Event(ctypes.Structure):
    _fields_ = [("address", ctypes.c_ubyte * 4), ("port", ctypes.c_ubyte * 2), ("own_port", ctypes.c_ushort)]


def show(_cpu, data, _size):
    event = ctypes.cast(data, ctypes.POINTER(Event)).contents
    address, port = socket.inet_ntoa(bytes(event.address)), int.from_bytes(event.port, "big")
    print(f"{address}:{port} from port {event.own_port}", flush=True)


with open(sys.argv[1], encoding="utf-8") as header:
    bpf = BPF(text=header.read() + PROGRAM)
bpf["events"].open_perf_buffer(show)
print("watching", file=sys.stderr, flush=True)
while True:
    bpf.perf_buffer_poll()
