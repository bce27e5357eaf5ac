"""The client's interface as the load generators see it: what it has sent, who answers, and the frames to send."""

from __future__ import annotations

import contextlib
import socket
import struct
import time
from dataclasses import dataclass

from pyroute2 import IPRoute

from ..config import UserError

FIRST_PORT, DPORT = 1024, 80  # of hping3's packets: the first source port, and the destination port
# Live frames that make new flows come from these addresses, after all ports of the client's own. RFC 2544 keeps them
# for benchmarks, so no real host has one. They are GEN_FIRST_SOURCE and GEN_SOURCES of bpf/trafficgen.bpf.c.
SOURCES = "198.18.0.0/15"
ANSWER_S = 1.0  # how long the target may take to answer ARP


@dataclass(frozen=True)
class Syn:
    """What is needed to send the TCP SYNs that hping3 sends, and those of other flows.

    Parameters
    ----------
    index : int
        The interface index.
    frame : bytes
        hping3's first SYN, from source port `FIRST_PORT`, with its Ethernet header.
    saddr : int
        Its source address.
    ip_sum, tcp_sum : int
        The unfolded sums of all that the checksums of IPv4 and TCP cover, except the source address and the source
        port. The checksums of a SYN from any other address and port follow from them.
    """

    index: int
    frame: bytes
    saddr: int
    ip_sum: int
    tcp_sum: int


class Wire:
    """The client's interface and the way to the target.

    Parameters
    ----------
    iface : str
        Name of an interface in this network namespace.
    target : str
        An IPv4 address on the same link.
    """

    def __init__(self, iface: str, target: str) -> None:
        self.iface, self.target = iface, target

    def _link(self, ip: IPRoute) -> dict:
        found = ip.link_lookup(ifname=self.iface)
        if not found:
            raise UserError(f"the client has no interface {self.iface!r}")
        return ip.link("get", index=found[0])[0]

    def kind(self) -> str | None:
        """Return the kind of a virtual interface, such as "veth"; None of another one.

        Raises
        ------
        UserError
            If there is no such interface.
        """
        with IPRoute() as ip:
            return self._link(ip).get_nested("IFLA_LINKINFO", "IFLA_INFO_KIND")

    def sent(self) -> int:
        """Return how many packets the interface was given to send, dropped ones included.

        Raises
        ------
        UserError
            If there is no such interface.
        """
        with IPRoute() as ip:
            stats = self._link(ip).get_attr("IFLA_STATS64")
        return stats["tx_packets"] + stats["tx_dropped"]

    def peer(self) -> str:
        """Return the MAC address of the target; ask for it by ARP if the kernel does not know it.

        Raises
        ------
        UserError
            If there is no such interface, or nobody answers within `ANSWER_S`.
        """
        end, asked = time.monotonic() + ANSWER_S, False
        with IPRoute() as ip:
            index = self._link(ip)["index"]
            while True:
                for entry in ip.get_neighbours(ifindex=index, dst=self.target):
                    if entry.get_attr("NDA_LLADDR"):
                        return entry.get_attr("NDA_LLADDR")
                if time.monotonic() > end:
                    raise UserError(f"{self.target} does not answer on {self.iface}: is it up, and the address right?")
                if not asked:
                    with contextlib.suppress(OSError), socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
                        probe.sendto(b"", (self.target, 9))
                    asked = True
                time.sleep(0.05)

    def syn(self) -> Syn:
        """Make hping3's first SYN to the target.

        Raises
        ------
        UserError
            See `peer`.
        """
        peer = self.peer()
        with IPRoute() as ip:
            link = self._link(ip)
            (address, *_) = ip.get_addr(family=socket.AF_INET, index=link["index"])
        source = socket.inet_aton(address.get_attr("IFA_LOCAL"))
        ends = source + socket.inet_aton(self.target)
        macs = (bytes.fromhex(mac.replace(":", "")) for mac in (peer, link.get_attr("IFLA_ADDRESS")))
        ipv4 = struct.pack("!BBHHHBBH8s", 0x45, 0, 40, 1, 0, 64, socket.IPPROTO_TCP, 0, ends)
        tcp = struct.pack("!HHIIBBHHH", FIRST_PORT, DPORT, 1, 0, 5 << 4, 0x02, 512, 0, 0)
        ip_sum, tcp_sum = _sum(ipv4), _sum(ends + struct.pack("!HH", socket.IPPROTO_TCP, len(tcp)) + tcp)
        frame = b"".join(macs) + b"\x08\x00" + _checked(ipv4, 10, ip_sum) + _checked(tcp, 16, tcp_sum)
        ip_sum, tcp_sum = ip_sum - _sum(source), tcp_sum - _sum(source) - FIRST_PORT
        return Syn(link["index"], frame, int.from_bytes(source, "big"), ip_sum, tcp_sum)


def _checked(header: bytes, at: int, total: int) -> bytes:
    """Return the header with its checksum put in at byte `at`; `total` is the sum of the words that it covers."""
    return header[:at] + struct.pack("!H", ~_fold(total) & 0xFFFF) + header[at + 2 :]


def _sum(data: bytes) -> int:
    return sum(struct.unpack(f"!{len(data) // 2}H", data))


def _fold(total: int) -> int:
    while total >> 16:
        total = (total & 0xFFFF) + (total >> 16)
    return total
