"""The link that is measured (Sec. V-B1, Fig. 3): a client and a server, each held to one CPU.

Here both are network namespaces on this machine; `two_machines` makes the same of this machine and another.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TypeVar

from ..config import UserError
from ..network import facts, tuning
from ..network.hosts import Host

# A broadcast address to the server, whose stack takes packets to it as far as TCP but answers none: resets to hping3's
# SYNs would cost both CPUs and lower R_TX. Differs: the paper sends to the server's own. (Nobody's will not do: a
# route is then made and freed for each packet, and freeing them stalls No Filter and the raw sockets.)
TARGET = "10.77.0.3"
# Native XDP on a veth runs in NAPI, on the sender's CPU unless NAPI has a thread of its own. GRO makes a veth use NAPI
# whether or not XDP is attached, and frames are eligible if their sender does not segment.
CLIENT_OFFLOADS = {"tcp-segmentation-offload": "off", "generic-segmentation-offload": "off"}
SERVER_OFFLOADS = {"generic-receive-offload": "on"}
PROGRAMS = ("ethtool", "ip")  # without hping3 its trials fail, and the others go on
UP_S = 10.0  # how long a driver may take to bring its link up again after it was set up anew for a program
T = TypeVar("T")


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
    mode : {"netns", "ssh"}
    held : str
        How the server's work is held to its CPU.
    notes : tuple of str
        What the user should know of this link before a long run.
    about : dict
        For the provenance of records: `machine.describe` of both ends.
    drain_s : float
        How long after its last packet a trial's counters are all up to date [s].
    set_routes : callable
        Tells each end the other's MAC address, since where every packet is dropped nobody answers ARP; and the server's
        stack what to do with the target's packets. A link that goes down loses both.
    """

    client: Host
    server: Host
    client_cpu: int
    server_cpu: int
    target: str = TARGET
    mode: str = "netns"
    held: str = ""
    notes: tuple[str, ...] = ()
    about: dict = field(default_factory=dict)
    drain_s: float = 0.05
    set_routes: Callable[[], None] = field(default=lambda: None, repr=False)
    foreign: set[int] = field(default_factory=facts.napi_threads)

    def hold_server(self) -> None:
        """Hold the server's work to its CPU, before other work; to be called again after each attachment."""
        if self.mode == "ssh":
            self.wait_until_up()
            self.held = ask(self.server, tuning.hold, self.server.iface, self.server_cpu)
            return
        for pid in facts.napi_threads() - self.foreign:
            tuning.pin(pid, self.server_cpu)
            self.held = f"NAPI thread {pid} on CPU {self.server_cpu}"

    def counters(self) -> dict[str, int]:
        """Packets since the link was made: sent by the client (dropped ones too), dropped, received by the server."""
        client, server = (ask(host, facts.state, host.iface)["stats"] for host in (self.client, self.server))
        return {
            "sent": client["tx_packets"] + client["tx_dropped"],
            "dropped_link": client["tx_dropped"],
            "dropped_interface": server["rx_dropped"] + server["rx_missed_errors"],
            "received_interface": server["rx_packets"],
        }

    def wait_until_up(self) -> None:
        """Give a driver time to set its link up again after an attachment, or a link to come back; then `check`."""
        end = time.monotonic() + UP_S
        while True:
            try:
                return self.check()
            except UserError:
                if time.monotonic() > end:
                    raise
            time.sleep(0.1)

    def check(self) -> None:
        """Raise UserError naming the end that is down or gone; for after each trial.

        Of two ends that are down, the one that was set down is the cause. One that came back has lost its routes.
        """
        down = {host: ask(host, facts.state, host.iface)["down"] for host in (self.client, self.server)}
        for host, why in sorted(down.items(), key=lambda item: item[1] != "is set down"):
            if why:
                raise UserError(f"{host.iface} of the {host.name} {why}")
        self.set_routes()


def ask(host: Host, function: Callable[..., T], *args: object) -> T:
    """Call a function on a host, whose name then stands before what is wrong."""
    try:
        return host.call(function, *args)
    except UserError as error:
        raise UserError(f"{host.name}: {error}") from None


def require_two(cpus: list[int], what: str) -> None:
    """Raise UserError unless there are two CPUs."""
    if len(cpus) < 2:
        raise UserError(f"the sweep needs two CPUs, {what}; this machine gives one")
