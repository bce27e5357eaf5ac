"""Read and write each kind of setting that `tuning` changes, or that outlives a killed measurement."""

from __future__ import annotations

import os
import socket
import subprocess
import warnings
from collections.abc import Callable
from pathlib import Path

from pyroute2 import IPRoute

from ..config import UserError
from .facts import cpu_set, ethtool, first, has_clsact, state

PERMANENT = 0x80  # NUD_PERMANENT, the state of a neighbour entry that somebody set
MAIN, BLACKHOLE, ONLINK = 254, 6, 4  # RT_TABLE_MAIN, RTN_BLACKHOLE, RTNH_F_ONLINK


def offload(iface: str, name: str) -> str | None:
    """Return whether an offload is "on" or "off", None if the interface does not know it."""
    return first(rf"^{name}: (on|off)", ethtool("-k", iface))


def _set_offload(iface: str, name: str, value: str) -> None:
    done = subprocess.run(["ethtool", "-K", iface, name, value], capture_output=True, text=True)
    if done.returncode or offload(iface, name) != value:
        raise UserError(f"{iface} does not turn {name} {value}: {done.stderr.strip()}")


def _neighbour(iface: str, address: str) -> str | None:
    """Return the MAC address of a permanent entry. Other entries do not count: the kernel resolves them by itself."""
    with IPRoute() as ip:
        for entry in ip.get_neighbours(family=socket.AF_INET, ifindex=socket.if_nametoindex(iface)):
            if entry.get_attr("NDA_DST") == address and entry["state"] == PERMANENT:
                return entry.get_attr("NDA_LLADDR")
    return None


def _set_neighbour(iface: str, address: str, mac: str | None) -> None:
    with IPRoute() as ip:
        index = socket.if_nametoindex(iface)
        if mac is None:
            ip.neigh("del", dst=address, ifindex=index)
        else:
            ip.neigh("replace", dst=address, lladdr=mac, ifindex=index, state="permanent")


def _route(_: str, network: str) -> str | None:
    """Return the gateway of the route to a network, "blackhole", or None if there is no such route."""
    with IPRoute() as ip:
        for route in ip.get_routes(family=socket.AF_INET, table=MAIN):
            if f"{route.get_attr('RTA_DST')}/{route['dst_len']}" == network:
                return "blackhole" if route["type"] == BLACKHOLE else route.get_attr("RTA_GATEWAY")
    return None


def _set_route(iface: str, network: str, to: str | None) -> None:
    with IPRoute() as ip:
        if to is None:
            ip.route("del", dst=network)
        elif to == "blackhole":
            ip.route("replace", dst=network, type="blackhole")
        else:
            ip.route("replace", dst=network, gateway=to, oif=socket.if_nametoindex(iface), flags=ONLINK)


def _xdp(iface: str, _: str) -> str:
    return "attached" if state(iface)["xdp"] else "none"


def _tell_of_xdp(iface: str, _: str, before: str) -> None:
    if before == "none":
        remedy = f"'ip link set dev {iface} xdp off' takes it off"
        warnings.warn(f"{iface} has an XDP program that the run did not attach, so it stays: {remedy}", stacklevel=2)


def _clsact(iface: str, _: str) -> str:
    return "present" if has_clsact(iface) else "none"


def _tell_of_clsact(iface: str, _: str, before: str) -> None:
    if before == "none":
        why = "it has filters of others, or others may have made it"
        remedy = f"'tc qdisc del dev {iface} clsact' removes it"
        warnings.warn(f"the clsact qdisc of {iface} stays, because {why}: {remedy}", stacklevel=2)


def _affinity(_: str, pid: str) -> str:
    return ",".join(map(str, sorted(os.sched_getaffinity(int(pid)))))


def _set_affinity(_: str, pid: str, text: str) -> None:
    os.sched_setaffinity(int(pid), cpu_set(text))


# Kind to read(iface, name) -> value and write(iface, name, value). The name is a path, an offload, an address, a
# network or a thread id; of xdp and clsact there is one each, which has no name. `kernel.attach` adds "program".
KINDS: dict[str, tuple[Callable, Callable]] = {
    "file": (lambda _, path: Path(path).read_text().strip(), lambda _, path, text: Path(path).write_text(text)),
    "offload": (offload, _set_offload),
    "neighbour": (_neighbour, _set_neighbour),
    "route": (_route, _set_route),
    "affinity": (_affinity, _set_affinity),
    "xdp": (_xdp, _tell_of_xdp),
    "clsact": (_clsact, _tell_of_clsact),
}
