"""What a machine and one of its interfaces are: state, addresses, routes, CPUs, interrupts. Nothing is changed here.

Of a link between two machines both sides use these functions, the client's through `remote`.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import re
import socket
import subprocess
from pathlib import Path

import psutil
from pyroute2 import IPRoute
from pyroute2.netlink.exceptions import NetlinkError

from .config import BPF, UserError
from .testbed import FIRST

NET = Path("/sys/class/net")


def state(iface: str) -> dict:
    """Return an interface's ``mac``, ``xdp`` mode (0: none), ``stats``, and what keeps it ``down`` (None: it is up).

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
    """Return what a record says of a machine: kernel, and the interface's driver, speed and flow control."""
    driver, speed, pause = (ethtool(option, iface) for option in ("-i", "", "-a"))
    return {
        "iface": iface,
        "kernel": os.uname().release,
        "driver": first(r"^driver: (\S+)", driver),
        "speed": first(r"Speed: (.+)", speed),
        "flow_control": first(r"RX:\s+(\S+)", pause),
    }


def first(pattern: str, text: str) -> str | None:
    """First group of a pattern's first match."""
    found = re.search(pattern, text, re.MULTILINE)
    return found and found[1]


def addresses(iface: str) -> list[str]:
    """IPv4 addresses of an interface."""
    with IPRoute() as ip:
        found = ip.get_addr(family=socket.AF_INET, index=socket.if_nametoindex(iface))
    return [address.get_attr("IFA_LOCAL") or address.get_attr("IFA_ADDRESS") for address in found]


def route(address: str) -> str | None:
    """Name of the interface through which this machine sends to an address, None if it does not."""
    with IPRoute() as ip:
        try:
            return socket.if_indextoname(ip.route("get", dst=address)[0].get_attr("RTA_OIF"))
        except NetlinkError:
            return None


def send(iface: str, address: str, text: str) -> None:
    """Send a datagram out of an interface."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sender:
        sender.setsockopt(socket.SOL_SOCKET, socket.SO_BINDTODEVICE, iface.encode())
        sender.sendto(text.encode(), (address, 9))


def cpus(iface: str) -> list[int]:
    """CPUs that this process may use, those of the interface's own memory node if there are such."""
    allowed = os.sched_getaffinity(0)
    with contextlib.suppress(OSError, ValueError):
        allowed = allowed & cpu_set((NET / iface / "device" / "local_cpulist").read_text()) or allowed
    return sorted(allowed)


def checkout_sha256() -> str:
    """Hash of this checkout's Python and C."""
    files = sorted([*Path(__file__).parent.rglob("*.py"), *BPF.rglob("*.[ch]")])
    return hashlib.sha256(b"".join(path.read_bytes() for path in files)).hexdigest()


def cpu_set(text: str) -> set[int]:
    """CPUs of a list as the kernel writes it, such as "0-3,8"."""
    ends = [part.split("-") for part in text.strip().split(",")]
    return {cpu for first, *last in ends for cpu in range(int(first), int((last or [first])[0]) + 1)}


def ethtool(*argv: str) -> str:
    """What ethtool prints; nothing when it fails."""
    return subprocess.run(["ethtool", *filter(None, argv)], capture_output=True, text=True).stdout


def processes() -> dict[int, str]:
    """Ids and names of what runs now, kernel threads too."""
    return {process.pid: process.info["name"] or "" for process in psutil.process_iter(["name"])}


def napi_threads(iface: str = "") -> set[int]:
    """Ids of the kernel threads that do an interface's NAPI; of all interfaces without a name."""
    begin = f"napi/{iface}-"[:15] if iface else "napi/"
    return {pid for pid, name in processes().items() if name.startswith(begin)}


def pin(pid: int, cpu: int) -> None:
    """Give a thread one CPU, before other work there."""
    with contextlib.suppress(ProcessLookupError):
        os.sched_setaffinity(pid, {cpu})
        os.setpriority(os.PRIO_PROCESS, pid, FIRST)


def interrupts(table: str, names: set[str]) -> list[int]:
    """Numbers of the interrupts in /proc/interrupts that carry one of these names, of an interface or its device."""
    name = re.compile(rf"(?<!\w)(?:{'|'.join(map(re.escape, sorted(names)))})(?!\w)")
    rows = (line.partition(":") for line in table.splitlines())
    return [int(number) for number, _, rest in rows if number.strip().isdigit() and name.search(rest)]
