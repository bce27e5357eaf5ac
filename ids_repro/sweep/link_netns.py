"""The measured link between two network namespaces of this machine."""

from __future__ import annotations

import contextlib
import os
import subprocess
from collections.abc import Collection, Iterator
from dataclasses import dataclass, field
from typing import ClassVar

from pyroute2 import IPRoute

from ..config import UserError
from ..network import facts, tuning
from ..network.hosts import Host
from ..network.namespaces import network
from ..require import require_programs
from .link import CLIENT_OFFLOADS, PROGRAMS, SERVER_OFFLOADS, Link, ask, require_two
from .uplink import SOURCES

CLIENT, SERVER = "10.77.0.1", "10.77.0.2"
# The server sees this as a broadcast address: its stack takes packets as far as TCP and answers none. Resets to
# hping3's SYNs would load both CPUs and lower R_TX. An address that nobody owns will not do either: the stack would
# make and free a route for each packet, and freeing them stalls No Filter and the raw sockets.
# Differs: the paper sends to the server's own address.
TARGET = "10.77.0.3"
LOCAL = 255  # the routing table of a host's own addresses


@dataclass
class NamespaceLink(Link):
    """A link between two network namespaces.

    Parameters
    ----------
    foreign : set of int
        Ids of the NAPI threads that ran when the link was made. Every thread that starts later is the server's.
    """

    foreign: set[int] = field(default_factory=facts.napi_threads)
    mode: ClassVar[str] = "netns"

    def set_routes(self) -> None:
        """Tell the client the server's MAC address, and the server's stack where the target and `SOURCES` are."""
        mac = ask(self.server, facts.state, self.server.iface)["mac"]
        self.client.call(_set_neighbours, self.client.iface, mac)
        self.server.call(_set_server_routes, self.server.iface)

    def set_server(self, name: str, value: int) -> None:
        """Write to the interface's file in the namespace's own /sys; see `Link.set_server`."""
        _run(self.server, "sh", "-c", f"echo {value} > /sys/class/net/{self.server.iface}/{name}")

    def hold_server(self) -> None:
        """Hold the server's NAPI thread to its CPU; see `Link.hold_server`."""
        for pid in facts.napi_threads() - self.foreign:
            tuning.pin(pid, self.server_cpu)
            self.held = f"NAPI thread {pid} on CPU {self.server_cpu}"


def _set_neighbours(iface: str, mac: str) -> None:
    with IPRoute() as ip:
        index = ip.link_lookup(ifname=iface)[0]
        for address in (TARGET, SERVER):
            ip.neigh("replace", dst=address, lladdr=mac, ifindex=index, state="permanent")


def _set_server_routes(iface: str) -> None:
    """Make the target a broadcast address, and let the reverse path filter take packets from `SOURCES`."""
    with IPRoute() as ip:
        index = ip.link_lookup(ifname=iface)[0]
        ip.route("replace", dst=f"{TARGET}/32", oif=index, table=LOCAL, type="broadcast", scope="link")
        ip.route("replace", dst=SOURCES, oif=index, scope="link")


def _run(host: Host, *argv: str) -> None:
    # `ip netns exec` mounts the namespace's own /sys; nsenter does not.
    done = subprocess.run(["ip", "netns", "exec", host.ns, *argv], capture_output=True, text=True)
    if done.returncode:
        raise UserError(f"{' '.join(argv)} failed on {host.name}: {done.stderr.strip()}")


@contextlib.contextmanager
def two_namespaces(cpus: Collection[int] | None = None) -> Iterator[NamespaceLink]:
    """Make the client and the server, and hold each to a CPU of its own.

    Parameters
    ----------
    cpus : collection of int, optional
        The CPUs to choose from; those of this process by default. The client gets the lowest, the server the highest.

    Yields
    ------
    NamespaceLink
        The link, which is removed at the end.

    Raises
    ------
    UserError
        Without root, a second CPU or a needed program, or if the kernel has no threaded NAPI.
    """
    require_programs(*PROGRAMS)
    cpus = sorted(os.sched_getaffinity(0) if cpus is None else cpus)
    require_two(cpus, "one for the client and one for the server")
    with network({"client": CLIENT, "server": SERVER}) as hosts:
        tuning.put_back_leftovers()  # of a killed run between two machines
        link = NamespaceLink(hosts["client"], hosts["server"], cpus[0], cpus[-1], TARGET)
        for host, offloads in ((link.client, CLIENT_OFFLOADS), (link.server, SERVER_OFFLOADS)):
            _run(host, "ethtool", "-K", host.iface, *(word for pair in offloads.items() for word in pair))
        link.set_server("threaded", 1)
        link.set_routes()
        link.hold_server()
        yield link
