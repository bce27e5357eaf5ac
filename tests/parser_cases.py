"""Made-up frames for each row of the parser's table in bpf/README.md."""

import made_captures as made

TCP, UDP = made.ipv4(), made.ipv4(proto=made.UDP)
TCP6, UDP6 = made.ipv6(), made.ipv6(proto=made.UDP)
KINDS = (made.HOP_BY_HOP, made.DESTINATION, made.ROUTING, made.FRAGMENT, made.AH, made.DESTINATION)


def frames(*inner, type_=0x0800):
    """Return an Ethernet frame around each packet."""
    return [made.ethernet(packet, type_=type_) for packet in inner]


def cut(packet, *sizes, type_=0x0800):
    """Return an Ethernet frame around the first bytes of a packet, for each size."""
    return [made.ethernet(packet[:size], type_=type_) for size in sizes]


def six(*inner):
    """Return an Ethernet frame around each IPv6 packet."""
    return frames(*inner, type_=0x86DD)


# For each row of the table: frames with the protocol, ports and IP length that the parser must find; None if nothing.
ROWS = {
    "IPv4 with TCP or UDP": [(f, (p, 1000, 80, len(f) - 14)) for f, p in zip(frames(TCP, UDP), (6, 17), strict=True)],
    "the same behind one or two VLAN tags": [
        (made.ethernet(packet, *tags, type_=type_), (6, 1000, 80, len(packet)))
        for packet, type_ in ((TCP, 0x0800), (TCP6, 0x86DD))
        for tags in ([0x8100], [0x88A8], [0x9100], [0x8100, 0x8100], [0x88A8, 0x8100], [0x9100, 0x8100])
    ],
    "IPv4 with options": [(f, (6, 1000, 80, 40 + n)) for n in (4, 20, 40) for f in frames(made.ipv4(options=bytes(n)))],
    "IPv4, any other protocol (ICMP, GRE, ESP, SCTP, ...)": [
        (f, (proto, 0, 0, 24)) for proto in (1, 2, 47, 50, 51, 132, 255) for f in frames(made.ipv4(proto=proto))
    ],
    "IPv4, first fragment": [(f, (6, 1000, 80, 40)) for f in frames(made.ipv4(fragment=0x2000))],
    "IPv4, later fragment": [
        (f, (proto, 0, 0, len(f) - 14))
        for proto in (6, 17)
        for offset in (1, 0x2001, 0x1FFF)
        for f in frames(made.ipv4(proto=proto, fragment=offset))
    ],
    "IPv6 with TCP or UDP": [(f, (p, 1000, 80, len(f) - 14)) for f, p in zip(six(TCP6, UDP6), (6, 17), strict=True)],
    "IPv6, up to six extension headers": [
        (f, (proto, 1000, 80, len(f) - 14))
        for proto in (6, 17)
        for size in (8, 16, 32)
        for chain in [[kind] for kind in KINDS] + [KINDS[:n] for n in range(2, 7)]
        for f in six(made.ipv6(*chain, proto=proto, size=size))
    ],
    "IPv6, any other protocol (ICMPv6, ESP, none, mobility, ...)": [
        (f, (proto, 0, 0, len(f) - 14))
        for proto in (1, 50, 58, 59, 132, 135, 139, 255)
        for chain in ([], KINDS)
        for f in six(made.ipv6(*chain, proto=proto))
    ],
    "IPv6, first fragment": [
        (f, (6, 1000, 80, 68)) for offset in (0, 1, 6) for f in six(made.ipv6(made.FRAGMENT, offset=offset))
    ],
    "IPv6, later fragment": [
        (f, (proto, 0, 0, len(f) - 14))
        for proto in (6, 17, made.DESTINATION)
        for chain in ([made.FRAGMENT], [made.HOP_BY_HOP, made.FRAGMENT])
        for f in six(made.ipv6(*chain, proto=proto, offset=8))
    ],
    "a length field that differs from the frame's length (offload, jumbogram, padding)": [
        *((f, (6, 1000, 80, 0)) for f in frames(TCP[:2] + bytes(2) + TCP[4:])),
        *((f, (6, 1000, 80, 40 + n)) for n in (0, 65_535) for f in six(made.ipv6(length=n))),
        (made.ethernet(UDP) + bytes(18), (17, 1000, 80, 28)),
    ],
    "a frame that is cut off after the last byte that is read (in ICMP's body, in IPv4 options without ports)": [
        *((f, (1, 0, 0, 64)) for f in cut(made.ipv4(proto=1, options=bytes(40)), 20)),
        *((f, (6, 1000, 80, 40)) for f in cut(TCP, 34)),
        *((f, (17, 1000, 80, 28)) for f in cut(UDP, 24)),
        *((f, (58, 0, 0, 44)) for f in cut(made.ipv6(proto=58), 40, type_=0x86DD)),
    ],
    "a frame that is cut off earlier": [
        (f, None)
        for f in (
            b"",
            made.ethernet(TCP)[:13],
            made.ethernet(TCP, 0x8100)[:17],
            made.ethernet(TCP, 0x88A8, 0x8100)[:21],
            *cut(TCP, 0, 19, 20, 23, 24, 33),
            *cut(UDP, 23),
            *cut(made.ipv4(options=bytes(40)), 20, 60, 73),
            *cut(TCP6, 0, 39, 40, 43, 53, type_=0x86DD),
            *cut(made.ipv6(*KINDS, size=16), 40, 47, 63, 87, 119, 139, type_=0x86DD),
        )
    ],
    "more than two VLAN tags": [
        (made.ethernet(TCP, *tags), None) for tags in ([0x8100] * 3, [0x88A8, 0x88A8, 0x8100], [0x9100] * 4)
    ],
    "anything else (ARP, 802.3 length, MPLS, PPPoE, ...)": [
        (made.ethernet(TCP, type_=type_), None) for type_ in (0x0806, 0x0026, 0x8847, 0x8864, 0x88CC, 0)
    ],
    "an IP version that contradicts the EtherType, or an IPv4 header shorter than 20 bytes": [
        *((f, None) for f in frames(TCP6, b"\x44" + TCP[1:], b"\x40" + TCP[1:], b"\x05" + TCP[1:])),
        *((f, None) for f in six(TCP + bytes(20), b"\x70" + TCP6[1:])),
    ],
    "IPv6, a seventh extension header, or a transport header further than 256 bytes in": [
        (f, None)
        for f in six(
            made.ipv6(*KINDS, made.DESTINATION),
            made.ipv6(*[made.HOP_BY_HOP] * 9),
            made.ipv6(made.DESTINATION, size=2048),
            made.ipv6(made.ROUTING, made.DESTINATION, size=112),
            made.ipv6(made.AH, size=220),
        )
    ],
}
