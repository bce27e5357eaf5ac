"""The link that is measured (Sec. V-B1, Fig. 3): a client and a server, eth0 to eth0, each held to one CPU."""

from __future__ import annotations

import contextlib
import os
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass, field

import psutil
from pyroute2 import IPRoute

from .config import UserError
from .testbed import FIRST, Host, network, require_programs

CLIENT, SERVER = "10.77.0.1", "10.77.0.2"
# Nobody's address, sent to the server's interface: an unfiltered server would answer hping3's SYNs with resets, whose
# cost falls on both CPUs and lowers R_TX. Differs: the paper sends to the server itself.
TARGET = "10.77.0.3"


def _napi_threads() -> set[int]:
    return {p.pid for p in psutil.process_iter(["name"]) if (p.info["name"] or "").startswith("napi/")}


@dataclass
class Link:
    """Two hosts and what is measured between them.

    Parameters
    ----------
    client, server : Host
    client_cpu, server_cpu : int
        What each side's work is held to.
    target : str
        The address to send to.
    held : str
        How the server's work is held to its CPU, in words.
    mode : str
        What joins the two, for the records' provenance.
    drain_s : float
        How long after its last packet a trial's counters are all up to date [s].
    """

    client: Host
    server: Host
    client_cpu: int
    server_cpu: int
    target: str = TARGET
    foreign: set[int] = field(default_factory=_napi_threads)
    held: str = ""
    mode: str = "netns"
    drain_s: float = 0.05

    def hold_server(self) -> None:
        """Pin the server's NAPI threads to its CPU, before other work; to be called again after each attachment."""
        for pid in _napi_threads() - self.foreign:
            with contextlib.suppress(ProcessLookupError):
                os.sched_setaffinity(pid, {self.server_cpu})
                os.setpriority(os.PRIO_PROCESS, pid, FIRST)
                self.held = f"napi thread {pid} on cpu {self.server_cpu}"

    def check(self) -> None:
        """Raise UserError if an interface is down."""
        for host in (self.client, self.server):
            if host.call(_state) != "UP":
                raise UserError(f"{host.iface} of the {host.name} is down")

    def counters(self) -> dict[str, int]:
        """Packets since the link was made: sent by the client (dropped ones too), dropped, received by the server."""
        client, server = self.client.call(_stats), self.server.call(_stats)
        return {
            "sent": client["tx_packets"] + client["tx_dropped"],
            "dropped_link": client["tx_dropped"],
            "dropped_interface": server["rx_dropped"],
            "received_interface": server["rx_packets"],
        }


def _eth0(ip: IPRoute) -> dict:
    return ip.link("get", ifname="eth0")[0]


def _stats() -> dict:
    with IPRoute() as ip:
        return _eth0(ip).get_attr("IFLA_STATS64")


def _state() -> str:
    with IPRoute() as ip:
        return _eth0(ip).get_attr("IFLA_OPERSTATE")


def _mac() -> str:
    with IPRoute() as ip:
        return _eth0(ip).get_attr("IFLA_ADDRESS")


def _neighbour(mac: str) -> None:
    with IPRoute() as ip:
        index = ip.link_lookup(ifname="eth0")[0]
        for address in (TARGET, SERVER):
            ip.neigh("replace", dst=address, lladdr=mac, ifindex=index, state="permanent")


def _run(host: Host, *argv: str) -> None:
    # ip netns exec, not nsenter: it mounts the namespace's own /sys
    done = subprocess.run(["ip", "netns", "exec", host.ns, *argv], capture_output=True, text=True)
    if done.returncode:
        raise UserError(f"{' '.join(argv)} failed on {host.name}: {done.stderr.strip()}")


@contextlib.contextmanager
def link() -> Iterator[Link]:
    """Make the client and the server and hold each to a CPU of its own.

    Native XDP on a veth runs in NAPI, on the sender's CPU unless NAPI has a thread of its own. GRO makes the device use
    NAPI whether or not XDP is attached (and TSO off on the sender makes its frames eligible), so every method takes the
    same way to the same thread, and that thread is pinned.

    Raises
    ------
    UserError
        Without root, a second CPU or a needed program, or where the kernel has no threaded NAPI.
    """
    require_programs("ethtool", "ip")
    cpus = sorted(os.sched_getaffinity(0))
    if len(cpus) < 2:
        raise UserError("the sweep needs two CPUs, one for the client and one for the server; this machine gives one")
    with network({"client": CLIENT, "server": SERVER}) as hosts:
        out = Link(hosts["client"], hosts["server"], cpus[0], cpus[-1])
        _run(out.client, "ethtool", "-K", "eth0", "tso", "off", "gso", "off")
        _run(out.server, "ethtool", "-K", "eth0", "gro", "on")
        _run(out.server, "sh", "-c", "echo 1 > /sys/class/net/eth0/threaded")
        mac = out.server.call(_mac)
        out.client.call(lambda: _neighbour(mac))
        out.hold_server()
        yield out
