"""A link between this machine, the server, and another, the client, that is reached over ssh."""

from __future__ import annotations

import contextlib
import secrets
import socket
import time
from collections.abc import Iterator
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

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


@dataclass(frozen=True)
class TwoMachines:
    """What a user says of a link between this machine, the server, and another, the client.

    Parameters
    ----------
    client : str
        ``ssh://user@host[:port]``, reached over another interface than the measured one.
    client_iface, server_iface : str
        The two ends of the measured link.
    client_dir : str
        The project's checkout on the client.
    target : str, optional
        The address to send to; the server's own if not given. It then answers with resets, as the paper's server did.
    ssh_config : Path, optional
        A configuration for ssh instead of the user's own.
    """

    client: str
    client_iface: str
    server_iface: str
    client_dir: str = str(ROOT)
    target: str | None = None
    ssh_config: Path | None = None

    @property
    def identity(self) -> dict[str, str]:
        """What makes a trial over this link another one than over namespaces, or over another link."""
        return {"mode": "ssh", "client_iface": self.client_iface, "server_iface": self.server_iface}


@contextlib.contextmanager
def two_machines(over: TwoMachines) -> Iterator[Link]:
    """Check and set up both ends, hold each to a CPU, and put everything back at the end.

    Raises
    ------
    UserError
        Naming what the set-up lacks, and the machine.
    """
    require_root("a sweep between two machines")
    require_programs(*PROGRAMS)
    with (
        alone(),
        connected(over.client, over.client_dir, over.ssh_config) as (session, about),
        contextlib.ExitStack() as stack,
    ):
        if about["sha256"] != checkout_sha256():
            raise UserError(f"client: {over.client_dir} there is not what this checkout is: bring both to one commit")
        client = SshHost("client", "", over.client_iface, session)
        server = ThisMachine("server", "", over.server_iface)
        for host, through in ((server, about["through"][0]), (client, about["through"][1])):
            ask(host, tuning.begin, host.iface)
            stack.callback(_put_back, host)
            _check_interface(host, through)
        on = _made(over, client, server)
        _set_offloads(on)
        on.set_routes = partial(_set_neighbours, on)
        on.hold_server()  # which sets the neighbours too
        _check_path(on)
        on.notes = _notes(on, over)
        yield on


def _put_back(host: Host) -> None:
    with contextlib.suppress(UserError):  # without a connection the client puts its own settings back
        host.call(tuning.put_back, host.iface)


def _check_interface(host: Host, through: str) -> None:
    if through in ask(host, facts.addresses, host.iface):
        raise UserError(
            f"the ssh connection itself goes through {host.iface} of the {host.name}, whose packets the measured "
            "programs drop: reach the client over another interface"
        )
    down = ask(host, facts.state, host.iface)["down"]
    if down:
        raise UserError(f"{host.iface} of the {host.name} {down}: 'ip link set {host.iface} up', and look at the cable")


def _made(over: TwoMachines, client: Host, server: Host) -> Link:
    """Return the link with addresses and CPUs chosen."""
    found = {host.name: ask(host, facts.addresses, host.iface) for host in (client, server)}
    for host in (client, server) if over.target is None else (client,):
        if not found[host.name]:
            example = f"ip addr add 10.77.0.{1 + (host is server)}/24 dev {host.iface}"
            raise UserError(f"{host.iface} of the {host.name} has no IPv4 address: such as '{example}'")
    target = over.target or found["server"][0]
    if ask(client, facts.route, target) != client.iface:
        raise UserError(f"the client does not send to {target} through {client.iface}: give both ends one subnet")
    client_cpus, server_cpus = (ask(host, facts.cpus, host.iface) for host in (client, server))
    require_two(server_cpus, "one for what is measured and one for the sweep itself")
    about = {host.name: ask(host, facts.describe, host.iface) for host in (client, server)}
    drivers = {end["driver"] for end in about.values()}
    client, server = replace(client, address=found["client"][0]), replace(server, address=target)
    # Many drivers bring some counters up to date only every two seconds; a veth's always are.
    drain_s = Link.drain_s if drivers == {"veth"} else 2.5
    return Link(client, server, client_cpus[0], server_cpus[-1], target, mode="ssh", about=about, drain_s=drain_s)


def _set_offloads(on: Link) -> None:
    for host, offloads in ((on.client, CLIENT_OFFLOADS), (on.server, SERVER_OFFLOADS)):
        for name, value in offloads.items():
            ask(host, tuning.change, host.iface, "offload", name, value)


def _set_neighbours(on: Link) -> None:
    for host, peer, address in ((on.client, on.server, on.target), (on.server, on.client, on.client.address)):
        mac = ask(peer, facts.state, peer.iface)["mac"]
        ask(host, tuning.change, host.iface, "neighbour", address, mac)


def _check_path(on: Link, patience_s: float = 3.0) -> None:
    """Send a word from the client's interface and wait for it at the server's."""
    word, ip = secrets.token_hex(16), 0x0800
    with socket.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(ip)) as receiver:
        receiver.bind((on.server.iface, ip))
        receiver.settimeout(0.2)
        end = time.monotonic() + patience_s
        while time.monotonic() < end:
            ask(on.client, facts.send, on.client.iface, on.target, word)
            with contextlib.suppress(TimeoutError):
                while word.encode() not in receiver.recv(2048):
                    pass
                return
    raise UserError(
        f"what the client sends out of {on.client.iface} does not arrive at {on.server.iface} of the server: "
        "are these the two ends of one link, with no router between?"
    )


def _notes(on: Link, over: TwoMachines) -> tuple[str, ...]:
    """What does not stop a sweep but shows in its results."""
    notes = [f"server: {on.held}; {on.about['server']['driver']}, {on.about['server']['speed'] or 'unknown speed'}"]
    if over.target is None:
        notes.append(f"the server answers packets to {on.target}, its own address, with resets, as the paper's did")
    if on.about["server"]["flow_control"] == "on":
        notes.append("flow control is on: a server that does not keep up slows its client instead of losing packets")
    if "irqbalance" in facts.processes().values():
        notes.append("irqbalance runs and may move the server's interrupts away from its CPU: stop it")
    try:
        with Program(Variant()) as program, program.attached(on.server, "xdp_drv"):
            on.hold_server()
    except UserError as error:
        notes.append(f"no native XDP, so that its trials will fail ({error})")
    on.wait_until_up()
    return tuple(notes)
