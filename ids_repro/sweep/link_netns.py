"""The measured link between two network namespaces of this machine."""

from __future__ import annotations

import contextlib
import os
import subprocess
from collections.abc import Iterator

from pyroute2 import IPRoute

from ..config import UserError
from ..network import facts, tuning
from ..network.hosts import Host
from ..network.namespaces import network
from ..require import require_programs
from .link import CLIENT_OFFLOADS, PROGRAMS, SERVER_OFFLOADS, TARGET, Link, require_two

CLIENT, SERVER = "10.77.0.1", "10.77.0.2"
LOCAL = 255  # the routing table of a host's own addresses


def _neighbour(iface: str, mac: str) -> None:
    with IPRoute() as ip:
        index = ip.link_lookup(ifname=iface)[0]
        for address in (TARGET, SERVER):
            ip.neigh("replace", dst=address, lladdr=mac, ifindex=index, state="permanent")


def _take_in(iface: str) -> None:
    with IPRoute() as ip:
        index = ip.link_lookup(ifname=iface)[0]
        ip.route("replace", dst=f"{TARGET}/32", oif=index, table=LOCAL, type="broadcast", scope="link")


def _run(host: Host, *argv: str) -> None:
    # ip netns exec, not nsenter: it mounts the namespace's own /sys
    done = subprocess.run(["ip", "netns", "exec", host.ns, *argv], capture_output=True, text=True)
    if done.returncode:
        raise UserError(f"{' '.join(argv)} failed on {host.name}: {done.stderr.strip()}")


@contextlib.contextmanager
def two_namespaces() -> Iterator[Link]:
    """Make the client and the server and hold each to a CPU of its own.

    Raises
    ------
    UserError
        Without root, a second CPU or a needed program, or where the kernel has no threaded NAPI.
    """
    require_programs(*PROGRAMS)
    cpus = sorted(os.sched_getaffinity(0))
    require_two(cpus, "one for the client and one for the server")
    with network({"client": CLIENT, "server": SERVER}) as hosts:
        tuning.put_back_leftovers()  # of a run between two machines
        out = Link(hosts["client"], hosts["server"], cpus[0], cpus[-1])
        for host, offloads in ((out.client, CLIENT_OFFLOADS), (out.server, SERVER_OFFLOADS)):
            _run(host, "ethtool", "-K", host.iface, *(word for pair in offloads.items() for word in pair))
        _run(out.server, "sh", "-c", f"echo 1 > /sys/class/net/{out.server.iface}/threaded")
        mac = out.server.call(facts.state, out.server.iface)["mac"]

        def set_routes() -> None:
            out.client.call(_neighbour, out.client.iface, mac)
            out.server.call(_take_in, out.server.iface)

        out.set_routes = set_routes
        set_routes()
        out.hold_server()
        yield out
