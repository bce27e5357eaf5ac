"""The measured link (Sec. V-B1, Fig. 3): a client and a server, each held to one CPU.

`Link` is what both kinds of link share. `link_netns` makes one of two network namespaces of this machine, `link_ssh`
one of this machine and another.
"""

from __future__ import annotations

import abc
import contextlib
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import ClassVar, TypeVar

from ..config import UserError
from ..network import facts
from ..network.hosts import Host

# Native XDP on a veth runs in NAPI, and on the sender's CPU unless NAPI is threaded. With GRO on, a veth uses NAPI even
# if no XDP program is attached. This holds only for frames that the sender does not segment.
CLIENT_OFFLOADS = {"tcp-segmentation-offload": "off", "generic-segmentation-offload": "off"}
SERVER_OFFLOADS = {"generic-receive-offload": "on"}
PROGRAMS = ("ethtool", "ip")  # hping3 is not required: without it only its own trials fail
# How the kernel's napi.rst says that an interface is left to a socket which polls it: its NAPI starts by itself only if
# nobody has polled it for 200 us. On Linux 6.18 a socket cannot poll a veth: its thread works then, every 200 us.
LEFT_TO_POLLS = {"napi_defer_hard_irqs": 2, "gro_flush_timeout": 200_000}
UP_S = 10.0  # a driver may set up its link again when a program is attached; this is how long that may take
T = TypeVar("T")


@dataclass
class Link(abc.ABC):
    """Two hosts and the link between them. Each kind of link is a subclass.

    Parameters
    ----------
    client, server : Host
        The client sends, the server receives.
    client_cpu, server_cpu : int
        The CPU that each side's work is held to.
    target : str
        The IPv4 address that the client sends to.
    held : str
        How the server's work is held to its CPU, for the records.
    notes : tuple of str
        What the user should know about this link before a long run.
    about : dict
        What `facts.describe` says of both ends, for the provenance of the records.
    drain_s : float
        How long after the last packet of a trial all counters are up to date [s].

    Attributes
    ----------
    mode : {"netns", "ssh"}
        The kind of link.
    """

    client: Host
    server: Host
    client_cpu: int
    server_cpu: int
    target: str
    held: str = ""
    notes: tuple[str, ...] = ()
    about: dict = field(default_factory=dict)
    drain_s: float = 0.05
    mode: ClassVar[str]

    @abc.abstractmethod
    def set_routes(self) -> None:
        """Tell each end the other's MAC address.

        Where a program drops every packet, nobody answers ARP. A link that goes down loses these entries, so they are
        set again whenever it is up.
        """

    @abc.abstractmethod
    def hold_server(self) -> None:
        """Hold the server's work to its CPU, before other work there, and note in `held` how.

        Call this again whenever a program was attached: the driver may then have new queues or threads.
        """

    @abc.abstractmethod
    def set_server(self, name: str, value: int) -> None:
        """Write a number to a file that the server's interface has in /sys/class/net."""

    @contextlib.contextmanager
    def left_to_polls(self) -> Iterator[None]:
        """Leave the work of the server's interface to a socket that polls it, while the block runs."""
        try:
            for name, value in LEFT_TO_POLLS.items():
                self.set_server(name, value)
            yield
        finally:
            for name in LEFT_TO_POLLS:
                self.set_server(name, 0)  # the kernel's default

    def counters(self) -> dict[str, int]:
        """Return the packets counted at both interfaces since they were made.

        Returns
        -------
        dict of str to int
            ``sent``: given to the client's interface, dropped ones included. ``dropped_link``: dropped there.
            ``dropped_interface`` and ``received_interface``: dropped and received by the server's interface.
        """
        client, server = (ask(host, facts.state, host.iface)["stats"] for host in (self.client, self.server))
        return {
            "sent": client["tx_packets"] + client["tx_dropped"],
            "dropped_link": client["tx_dropped"],
            "dropped_interface": server["rx_dropped"] + server["rx_missed_errors"],
            "received_interface": server["rx_packets"],
        }

    def wait_until_up(self) -> None:
        """Wait until both ends are up, for at most `UP_S`; then do what `check` does.

        Raises
        ------
        UserError
            If an end is still down after that time; see `check`.
        """
        end = time.monotonic() + UP_S
        while True:
            try:
                return self.check()
            except UserError:
                if time.monotonic() > end:
                    raise
            time.sleep(0.1)

    def check(self) -> None:
        """Check that both ends are up, and set the routes again: a link that went down and came back has lost them.

        Raises
        ------
        UserError
            If an end is down or gone. It names that end. When both are down, the end that was set down is the cause;
            the other end only lost its carrier.
        """
        down = {host: ask(host, facts.state, host.iface)["down"] for host in (self.client, self.server)}
        for host, why in sorted(down.items(), key=lambda item: item[1] != "is set down"):
            if why:
                raise UserError(f"{host.iface} of the {host.name} {why}")
        self.set_routes()


def ask(host: Host, function: Callable[..., T], *args: object) -> T:
    """Call a function on a host and return its value.

    Raises
    ------
    UserError
        What the function raised, with the host's name in front.
    """
    try:
        return host.call(function, *args)
    except UserError as error:
        raise UserError(f"{host.name}: {error}") from None


def require_two(cpus: list[int], what: str) -> None:
    """Raise UserError unless there are two CPUs.

    Parameters
    ----------
    cpus : list of int
        The CPUs of a machine.
    what : str
        What needs the two, for the message.
    """
    if len(cpus) < 2:
        raise UserError(f"the sweep needs two CPUs, {what}; this machine gives one")
