"""Small capture files, frames and packets, made byte by byte."""

import itertools
import struct

import numpy as np

from ids_repro.native.layouts import ROW

TCP, UDP, ICMP = 6, 17, 1
HOP_BY_HOP, ROUTING, FRAGMENT, AH, DESTINATION = 0, 43, 44, 51, 60
FIN, SYN, RST, ACK = 0x01, 0x02, 0x04, 0x10
A, B = 0x0A000001, 0x0A000002


def transport(sport, dport, proto, flags):
    """Return the fixed part of a transport header."""
    return {
        TCP: struct.pack(">HHIIBBHHH", sport, dport, 0, 0, 0x50, flags, 0, 0, 0),
        UDP: struct.pack(">HHHH", sport, dport, 8, 0),
    }.get(proto, b"\x08\0\0\0")


def ipv4(sport=1000, dport=80, proto=TCP, flags=ACK, payload=b"", src=A, dst=B, options=b"", fragment=0):
    """Return an IPv4 packet; fragment is the 16-bit field of flags and offset."""
    words, body = 5 + len(options) // 4, transport(sport, dport, proto, flags) + payload
    head = struct.pack(">BBHHHBBHII", 0x40 | words, 0, 4 * words + len(body), 0, fragment, 64, proto, 0, src, dst)
    return head + options + body


def ipv6(*extensions, sport=1000, dport=80, proto=TCP, flags=ACK, size=8, offset=0, src=A, dst=B, length=None):
    """Return an IPv6 packet from fd00::src to fd00::dst; an extension header has `size` bytes, a fragment header 8."""
    body = b""
    for kind, after in itertools.pairwise((*extensions, proto)):
        units = {FRAGMENT: 0xEE, AH: size // 4 - 2}.get(kind, size // 8 - 1)  # a fragment header has no length
        body += struct.pack(">BBH", after, units, offset if kind == FRAGMENT else 0)
        body += bytes(4 if kind == FRAGMENT else size - 4)
    body += transport(sport, dport, proto, flags)
    addresses = b"".join(b"\xfd" + bytes(11) + struct.pack(">I", host) for host in (src, dst))
    length = len(body) if length is None else length
    return struct.pack(">IHBB", 6 << 28, length, (*extensions, proto)[0], 64) + addresses + body


def ethernet(packet, *tags, type_=0x0800):
    """Return an Ethernet frame; tags are the EtherTypes of VLAN headers, outermost first."""
    return bytes(range(12)) + b"".join(struct.pack(">HH", tag, 5) for tag in tags) + struct.pack(">H", type_) + packet


def cooked(packet, *tags, type_=0x0800):
    """Return a frame of Linux cooked capture, version 1."""
    types = [*tags, type_]
    return bytes(14) + struct.pack(">H", types[0]) + b"".join(struct.pack(">HH", 5, t) for t in types[1:]) + packet


def cooked2(packet, type_=0x0800):
    """Return a frame of Linux cooked capture, version 2."""
    return struct.pack(">H", type_) + bytes(18) + packet


def padded(frames):
    """Return frames of shape (n, width), uint8, and their lengths (n,), uint32."""
    width = max(map(len, frames))
    return np.array([list(f.ljust(width, b"\0")) for f in frames], np.uint8), np.array([*map(len, frames)], np.uint32)


def pcap(frames, link=1, endian="<", ns=False, snap=1 << 16):
    """Return a pcap file of (time in the file's unit, frame) pairs; frames are cut at the snap length."""
    unit = 10**9 if ns else 10**6
    out = [struct.pack(endian + "IHHiIII", 0xA1B23C4D if ns else 0xA1B2C3D4, 2, 4, 0, 0, snap, link)]
    for time, frame in frames:
        kept = frame[:snap]
        out += [struct.pack(endian + "IIII", time // unit, time % unit, len(kept), len(frame)), kept]
    return b"".join(out)


def block(kind, body, endian="<"):
    """Return a pcapng block."""
    body += bytes(-len(body) % 4)
    size = len(body) + 12
    return struct.pack(endian + "II", kind, size) + body + struct.pack(endian + "I", size)


def section(endian="<"):
    """Return a section header."""
    return block(0x0A0D0D0A, struct.pack(endian + "IHHq", 0x1A2B3C4D, 1, 0, -1), endian)


def option(code, value, endian="<"):
    """Return an option of a pcapng block."""
    return struct.pack(endian + "HH", code, len(value)) + value + bytes(-len(value) % 4)


def interface(link=1, endian="<", resolution=None, offset_s=None, snap=0):
    """Return an interface description; resolution is the byte of if_tsresol."""
    options = option(2, b"eth0", endian)
    if resolution is not None:
        options += option(9, bytes([resolution]), endian)
    if offset_s is not None:
        options += option(14, struct.pack(endian + "q", offset_s), endian)
    return block(1, struct.pack(endian + "HHI", link, 0, snap) + options + option(0, b"", endian), endian)


def enhanced(ticks, frame, interface_=0, endian="<"):
    """Return an enhanced packet block, with a comment."""
    head = struct.pack(endian + "IIIII", interface_, ticks >> 32, ticks & 0xFFFFFFFF, len(frame), len(frame))
    return block(6, head + frame + bytes(-len(frame) % 4) + option(1, b"hello", endian), endian)


def old_packet(ticks, frame, endian="<"):
    """Return an obsolete packet block."""
    head = struct.pack(endian + "HHIIII", 0, 0, ticks >> 32, ticks & 0xFFFFFFFF, len(frame), len(frame))
    return block(2, head + frame, endian)


def simple(frame, endian="<"):
    """Return a simple packet block, which has no time stamp."""
    return block(3, struct.pack(endian + "I", len(frame)) + frame, endian)


def many_flows(n, step_ns, flags=ACK, per_flow=3):
    """Return the packets of n flows, dtype ROW, one flow after the other; the last packet of each carries `flags`."""
    rows = np.zeros(n * per_flow, ROW)
    number = np.repeat(np.arange(n), per_flow)
    rows["ts_ns"], rows["len"], rows["proto"] = 10**18 + np.arange(len(rows)) * step_ns, 40, 6
    rows["saddr"], rows["daddr"], rows["sport"], rows["dport"] = number, 1 << 30, number & 0xFFFF, 80
    rows["tcp_flags"] = np.where(np.arange(len(rows)) % per_flow == per_flow - 1, flags, ACK)
    return rows
