"""The measured link between this machine, the server, and another, the client, that is reached over ssh."""

from __future__ import annotations

import contextlib
import secrets
import socket
import time
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import ClassVar

from ..config import ROOT, UserError
from ..kernel.program import Program
from ..kernel.variants import Variant
from ..network import facts, tuning
from ..network.hosts import Host, ThisMachine
from ..network.namespaces import alone
from ..network.ssh import SshHost, connected
from ..provenance import checkout_sha256
from ..require import require_programs, require_root
from .link import CLIENT_OFFLOADS, PROGRAMS, SERVER_OFFLOADS, Link, ask, require_two
from .uplink import SOURCES


@dataclass(frozen=True)
class TwoMachines:
    """What the user says about a link between this machine, the server, and another, the client.

    Parameters
    ----------
    client : str
        ``ssh://user@host[:port]``. The connection must not go through the measured interfaces.
    client_iface, server_iface : str
        Names of the interfaces at the two ends of the measured link.
    client_dir : str
        Path of the project's checkout on the client.
    target : str, optional
        The IPv4 address to send to; the server's own by default. The server then answers with resets, as the paper's
        server did.
    ssh_config : Path, optional
        A configuration file for ssh instead of the user's own.
    """

    client: str
    client_iface: str
    server_iface: str
    client_dir: str = str(ROOT)
    target: str | None = None
    ssh_config: Path | None = None

    @property
    def identity(self) -> dict[str, str]:
        """Return what distinguishes a trial over this link from one over namespaces or over another link."""
        return {"mode": "ssh", "client_iface": self.client_iface, "server_iface": self.server_iface}


@dataclass
class SshLink(Link):
    """A link between two machines."""

    mode: ClassVar[str] = "ssh"

    def set_routes(self) -> None:
        """Tell each end the other's MAC address; see `Link.set_routes`.

        What the server answers to `SOURCES` goes to the client, which drops it. Without these routes it would go to
        the gateway of either.
        """
        for host, peer, address in (
            (self.client, self.server, self.target),
            (self.server, self.client, self.client.address),
        ):
            mac = ask(peer, facts.state, peer.iface)["mac"]
            ask(host, tuning.change, host.iface, "neighbour", address, mac)
        ask(self.server, tuning.change, self.server.iface, "route", SOURCES, self.client.address)
        ask(self.client, tuning.change, self.client.iface, "route", SOURCES, "blackhole")

    def set_server(self, name: str, value: int) -> None:
        """Write to the interface's file, after its value was written down; see `Link.set_server`."""
        path = facts.NET / self.server.iface / name
        ask(self.server, tuning.change, self.server.iface, "file", str(path), str(value))

    def hold_server(self) -> None:
        """Wait until the link is up, then hold the server's interface to its CPU; see `Link.hold_server`."""
        self.wait_until_up()
        self.held = ask(self.server, tuning.hold, self.server.iface, self.server_cpu)


@contextlib.contextmanager
def two_machines(over: TwoMachines) -> Iterator[SshLink]:
    """Check and set up both ends, hold each to a CPU, and put all settings back at the end.

    Parameters
    ----------
    over : TwoMachines
        The two ends.

    Yields
    ------
    SshLink
        The link, ready for trials.

    Raises
    ------
    UserError
        If something is missing; it names what, and on which machine.
    """
    require_root("a sweep between two machines")
    require_programs(*PROGRAMS)
    with (
        alone(),
        connected(over.client, over.client_dir, over.ssh_config) as (session, about),
        contextlib.ExitStack() as stack,
    ):
        if about["sha256"] != checkout_sha256():
            raise UserError(
                f"client: its checkout in {over.client_dir} differs from this one: bring both to one commit"
            )
        client = SshHost("client", "", over.client_iface, session)
        server = ThisMachine("server", "", over.server_iface)
        for host, through in ((server, about["through"][0]), (client, about["through"][1])):
            _require_ethernet(host)
            ask(host, tuning.begin, host.iface)
            stack.callback(_put_back, host)
            _check_interface(host, through)
        link = _made(over, client, server)
        _set_offloads(link)
        link.hold_server()  # this sets the routes too
        _check_path(link)
        link.notes = _notes(link, over)
        yield link


def _put_back(host: Host) -> None:
    with contextlib.suppress(UserError):  # if the connection is lost, the client puts its settings back itself
        host.call(tuning.put_back, host.iface)


def _require_ethernet(host: Host) -> None:
    if ask(host, facts.link_of, host.iface) != "ethernet":
        raise UserError(
            f"{host.iface} of the {host.name} carries no Ethernet frames, which the sweep sends: use another"
        )


def _check_interface(host: Host, through: str) -> None:
    if through in ask(host, facts.addresses, host.iface):
        raise UserError(
            f"the ssh connection itself goes through {host.iface} of the {host.name}, whose packets the measured "
            "programs drop: reach the client over another interface"
        )
    down = ask(host, facts.state, host.iface)["down"]
    if down:
        raise UserError(
            f"{host.iface} of the {host.name} {down}: run 'ip link set {host.iface} up' and check the cable"
        )


def _made(over: TwoMachines, client: Host, server: Host) -> SshLink:
    """Return the link with its addresses and CPUs chosen."""
    found = {host.name: ask(host, facts.addresses, host.iface) for host in (client, server)}
    for host in (client, server) if over.target is None else (client,):
        if not found[host.name]:
            example = f"ip addr add 10.77.0.{1 + (host is server)}/24 dev {host.iface}"
            raise UserError(f"{host.iface} of the {host.name} has no IPv4 address: add one, such as '{example}'")
    target = over.target or found["server"][0]
    if ask(client, facts.route, target) != client.iface:
        raise UserError(f"the client does not send to {target} through {client.iface}: give both ends one subnet")
    client_cpus, server_cpus = (ask(host, facts.cpus, host.iface) for host in (client, server))
    require_two(server_cpus, "one for what is measured and one for the sweep itself")
    about = {host.name: ask(host, facts.describe, host.iface) for host in (client, server)}
    drivers = {end["driver"] for end in about.values()}
    client, server = replace(client, address=found["client"][0]), replace(server, address=target)
    # Many drivers update some counters only every two seconds. A veth counts a packet when NAPI takes it off the ring.
    drain_s = Link.drain_s if drivers == {"veth"} else 2.5
    return SshLink(client, server, client_cpus[0], server_cpus[-1], target, about=about, drain_s=drain_s)


def _set_offloads(link: Link) -> None:
    for host, offloads in ((link.client, CLIENT_OFFLOADS), (link.server, SERVER_OFFLOADS)):
        for name, value in offloads.items():
            ask(host, tuning.change, host.iface, "offload", name, value)


def _check_path(link: Link, patience_s: float = 3.0) -> None:
    """Send a random word out of the client's interface and wait until it arrives at the server's."""
    word, ip = secrets.token_hex(16), 0x0800
    with socket.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(ip)) as receiver:
        receiver.bind((link.server.iface, ip))
        receiver.settimeout(0.2)
        end = time.monotonic() + patience_s
        while time.monotonic() < end:
            ask(link.client, facts.send, link.client.iface, link.target, word)
            with contextlib.suppress(TimeoutError):
                while word.encode() not in receiver.recv(2048):
                    pass
                return
    raise UserError(
        f"what the client sends out of {link.client.iface} does not arrive at {link.server.iface} of the server: "
        "are these the two ends of one link, with no router between?"
    )


def _notes(link: Link, over: TwoMachines) -> tuple[str, ...]:
    """Return what does not stop a sweep but shows in its results."""
    server = link.about["server"]
    notes = [f"server: {link.held}; {server['driver']}, {server['speed'] or 'unknown speed'}"]
    if over.target is None:
        notes.append(f"the server answers packets to {link.target}, its own address, with resets, as the paper's did")
    if server["flow_control"] == "on":
        notes.append("flow control is on: a server that does not keep up slows its client instead of losing packets")
    if "irqbalance" in facts.processes().values():
        notes.append("irqbalance runs and may move the server's interrupts away from its CPU: stop it")
    try:
        with Program(Variant()) as program, program.attached(link.server, "xdp_drv"):
            link.hold_server()
    except UserError as error:
        notes.append(f"no native XDP: its trials will fail ({error})")
    link.wait_until_up()
    return tuple(notes)
