"""The client's interface as the load generators see it: what it has sent, who answers, and the frames to send."""

from __future__ import annotations

import contextlib
import socket
import struct
import time

from pyroute2 import IPRoute

from ..config import UserError

FIRST_PORT, DPORT = 1024, 80  # of hping3's packets: the first source port, and the destination port
ANSWER_S = 1.0  # how long the target may take to answer ARP


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

    def syn(self) -> tuple[int, bytes, int]:
        """Return what is needed to send the TCP SYNs that hping3 sends.

        Returns
        -------
        index : int
            The interface index.
        frame : bytes
            hping3's first SYN, from source port `FIRST_PORT`, with its Ethernet header.
        covered : int
            The unfolded sum of all that TCP's checksum covers except the source port. The checksum of a SYN from any
            other port follows from it.

        Raises
        ------
        UserError
            See `peer`.
        """
        peer = self.peer()
        with IPRoute() as ip:
            link = self._link(ip)
            (address, *_) = ip.get_addr(family=socket.AF_INET, index=link["index"])
        ends = socket.inet_aton(address.get_attr("IFA_LOCAL")) + socket.inet_aton(self.target)
        macs = (bytes.fromhex(mac.replace(":", "")) for mac in (peer, link.get_attr("IFLA_ADDRESS")))
        ipv4 = struct.pack("!BBHHHBBH8s", 0x45, 0, 40, 1, 0, 64, socket.IPPROTO_TCP, 0, ends)
        tcp = struct.pack("!HHIIBBHHH", FIRST_PORT, DPORT, 1, 0, 5 << 4, 0x02, 512, 0, 0)
        covered = _sum(ends + struct.pack("!HH", socket.IPPROTO_TCP, len(tcp)) + tcp)
        packet = _checked(ipv4, 10, _sum(ipv4)) + _checked(tcp, 16, covered)
        return link["index"], b"".join(macs) + b"\x08\x00" + packet, covered - FIRST_PORT


def _checked(header: bytes, at: int, total: int) -> bytes:
    """Return the header with its checksum put in at byte `at`; `total` is the sum of the words that it covers."""
    return header[:at] + struct.pack("!H", ~_fold(total) & 0xFFFF) + header[at + 2 :]


def _sum(data: bytes) -> int:
    return sum(struct.unpack(f"!{len(data) // 2}H", data))


def _fold(total: int) -> int:
    while total >> 16:
        total = (total & 0xFFFF) + (total >> 16)
    return total
