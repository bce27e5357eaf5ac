"""Read the state of a machine and of one of its interfaces: addresses, routes, CPUs, interrupts. Change nothing.

For a link between two machines these functions run at both ends; at the client they are called through `ssh`.
"""

from __future__ import annotations

import contextlib
import os
import re
import socket
import subprocess
from pathlib import Path

import psutil
from pyroute2 import IPRoute
from pyroute2.netlink.exceptions import NetlinkError

from ..config import UserError

NET = Path("/sys/class/net")
# Link types of linux/if_arp.h. A loopback's frames have an Ethernet header; those of the second line are IP packets:
# PPP, RAWIP (modems), TUNNEL (ipip), TUNNEL6, SIT, IPGRE, IP6GRE, NONE (tun, WireGuard).
ETHERNET, BARE = {1, 772}, {512, 519, 768, 769, 776, 778, 823, 65534}
POINT_TO_POINT = 0x10  # IFF_POINTOPOINT
# After IPsec, a packet still has the header of the device that it came through, whatever that is.
_IPSEC = ("vti", "vti6", "xfrm")


def state(iface: str) -> dict:
    """Return the state of an interface.

    Returns
    -------
    dict
        ``mac``; ``down``, why no packets pass ("is set down" or "has no carrier"), None if the interface is up;
        ``xdp``, how an XDP program is attached (XDP_ATTACHED_* of linux/if_link.h), 0 or None if there is none;
        ``stats``, the counters of rtnl_link_stats64.

    Raises
    ------
    UserError
        If there is no such interface.
    """
    with IPRoute() as ip:
        try:
            found = ip.link("get", ifname=iface)[0]
        except NetlinkError:
            names = ", ".join(name for _, name in socket.if_nameindex())
            raise UserError(f"there is no interface {iface!r}; there are {names}") from None
    xdp = found.get_attr("IFLA_XDP")
    down = None if found.get_attr("IFLA_CARRIER") else "has no carrier" if found["flags"] & 1 else "is set down"
    return {
        "mac": found.get_attr("IFLA_ADDRESS"),
        "down": down,
        "xdp": xdp.get_attr("IFLA_XDP_ATTACHED") if xdp else 0,
        "stats": found.get_attr("IFLA_STATS64"),
    }


def describe(iface: str) -> dict:
    """Return what a record says about a machine: its kernel, and an interface's driver, speed and flow control.

    What ethtool does not tell is None.
    """
    driver, speed, pause = (ethtool(option, iface) for option in ("-i", "", "-a"))
    return {
        "iface": iface,
        "kernel": os.uname().release,
        "driver": first(r"^driver: (\S+)", driver),
        "speed": first(r"Speed: (.+)", speed),
        "flow_control": first(r"RX:\s+(\S+)", pause),
    }


def first(pattern: str, text: str) -> str | None:
    """Return the first group of a pattern's first match in a text of many lines, None if nothing matches."""
    found = re.search(pattern, text, re.MULTILINE)
    return found and found[1]


def addresses(iface: str) -> list[str]:
    """Return the IPv4 addresses of an interface."""
    with IPRoute() as ip:
        found = ip.get_addr(family=socket.AF_INET, index=socket.if_nametoindex(iface))
    return [address.get_attr("IFA_LOCAL") or address.get_attr("IFA_ADDRESS") for address in found]


def route(address: str) -> str | None:
    """Return the name of the interface through which this machine sends to an address, None if it has no route."""
    with IPRoute() as ip:
        try:
            return socket.if_indextoname(ip.route("get", dst=address)[0].get_attr("RTA_OIF"))
        except NetlinkError:
            return None


def send(iface: str, address: str, text: str) -> None:
    """Send a UDP datagram to port 9 (discard) of an address, out of this interface whatever the routes say."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sender:
        sender.setsockopt(socket.SOL_SOCKET, socket.SO_BINDTODEVICE, iface.encode())
        sender.sendto(text.encode(), (address, 9))


def cpus(iface: str) -> list[int]:
    """Return the CPUs that this process may use, sorted. Those of the interface's NUMA node are preferred.

    Only the CPUs of that node are returned, unless the process may use none of them or the node is unknown.
    """
    allowed = os.sched_getaffinity(0)
    with contextlib.suppress(OSError, ValueError):
        allowed = allowed & cpu_set((NET / iface / "device" / "local_cpulist").read_text()) or allowed
    return sorted(allowed)


def cpu_set(text: str) -> set[int]:
    """Return the CPUs of a list as the kernel writes it, such as "0-3,8"."""
    ends = [part.split("-") for part in text.strip().split(",")]
    return {cpu for first, *last in ends for cpu in range(int(first), int((last or [first])[0]) + 1)}


def ethtool(*argv: str) -> str:
    """Return what ethtool prints; it prints nothing when it fails. Empty arguments are left out."""
    return subprocess.run(["ethtool", *filter(None, argv)], capture_output=True, text=True).stdout


def processes() -> dict[int, str]:
    """Return the names of all running processes by id, kernel threads included."""
    return {process.pid: process.info["name"] or "" for process in psutil.process_iter(["name"])}


def napi_threads(iface: str = "", cpu: int | None = None) -> set[int]:
    """Return the ids of the kernel threads that do NAPI work.

    Parameters
    ----------
    iface : str
        Only those of this interface. Threads of interfaces with this name in other network namespaces are among them:
        the kernel names them alike.
    cpu : int, optional
        Only those that are held to this CPU.
    """
    begin = f"napi/{iface}-"[:15] if iface else "napi/"
    found = {pid for pid, name in processes().items() if name.startswith(begin)}
    return found if cpu is None else {pid for pid in found if _held_to(pid, cpu)}


def _held_to(pid: int, cpu: int) -> bool:
    with contextlib.suppress(ProcessLookupError):
        return os.sched_getaffinity(pid) == {cpu}
    return False


def interrupts(table: str, names: set[str]) -> list[int]:
    """Return the numbers of the interrupts that belong to an interface.

    Parameters
    ----------
    table : str
        The text of /proc/interrupts.
    names : set of str
        Names of the interface and of its device; one of them stands in the line of each of its interrupts.
    """
    name = re.compile(rf"(?<!\w)(?:{'|'.join(map(re.escape, sorted(names)))})(?!\w)")
    rows = (line.partition(":") for line in table.splitlines())
    return [int(number) for number, _, rest in rows if number.strip().isdigit() and name.search(rest)]


def index_of(ip: IPRoute, iface: str) -> int:
    """Return the index of an interface.

    Raises
    ------
    UserError
        If there is no such interface.
    """
    found = ip.link_lookup(ifname=iface)
    if not found:
        names = ", ".join(link.get_attr("IFLA_IFNAME") for link in ip.get_links())
        raise UserError(f"there is no interface {iface!r} here: use one of {names}")
    return found[0]


def link_of(iface: str) -> str:
    """Return what a frame of an interface is, for the kernel program.

    Returns
    -------
    {"ethernet", "bare"}
        An Ethernet frame, or an IP packet without a link layer, as on a tunnel.

    Raises
    ------
    UserError
        If there is no such interface, or its frames are neither.
    """
    with IPRoute() as ip:
        link = ip.link("get", index=index_of(ip, iface))[0]
    number, kind = link["ifi_type"], link.get(("linkinfo", "kind"))
    if number in ETHERNET:
        return "ethernet"
    # A GRE device for many peers shows the outer header.
    if number in BARE and kind not in _IPSEC and (kind not in ("gre", "ip6gre") or link["flags"] & POINT_TO_POINT):
        return "bare"
    name = first(r"link/(\S+)", subprocess.run(["ip", "link", "show", iface], capture_output=True, text=True).stdout)
    raise UserError(
        f"{iface} is of link type {name} ({number}{f', {kind}' * bool(kind)}): its frames are neither Ethernet nor IP "
        "packets alone; choose the interface below it, or one that its packets go on to"
    )


def has_clsact(iface: str) -> bool:
    """Return whether an interface has a clsact qdisc, which TC programs are attached to.

    Raises
    ------
    UserError
        If there is no such interface.
    """
    with IPRoute() as ip:
        kinds = [qdisc.get_attr("TCA_KIND") for qdisc in ip.get_qdiscs(index=index_of(ip, iface))]
    return "clsact" in kinds
