"""A detector that filters resets the connection of a flagged flow, so that the server does not keep it."""

import socket
import subprocess
from collections.abc import Iterator
from types import SimpleNamespace

import pytest
from machine_state import attachments, until
from made_models import length_tree

from ids_repro.kernel.program import Program
from ids_repro.kernel.variants import Variant
from ids_repro.native import library
from ids_repro.network.hosts import Host
from ids_repro.network.namespaces import network

pytestmark = [pytest.mark.root, pytest.mark.bpf]

MODES = {"xdp_drv": "xdp", "xdp_skb": "xdp", "tc": "tc", "tc_both": "tc_both"}
LONGEST = 500  # bytes of an IP packet; a longer one raises an alarm
TCP_REPAIR = 19  # of linux/tcp.h
SHORT, LONG = b"s" * 100, b"l" * 600


@pytest.fixture(scope="module")
def on():
    """A client and a server at a bridge; `port` is the bridge's port to the client."""
    with network({"client": "10.98.0.1", "server": "10.98.0.2", "other": "10.98.0.3"}) as made:
        yield SimpleNamespace(**made, port=Host("switch", "", "client"))


@pytest.fixture
def detector() -> Iterator[Program]:
    """Return what loads a detector for one kind of hook."""
    loaded = []

    def load(mode: str, action: str = "filter") -> Program:
        variant = Variant(MODES[mode], "dt", action=action, evidence=True)
        loaded.append(Program(variant, length_tree(LONGEST, flag_at=100).to_bytes()))
        return loaded[0]

    yield load
    loaded[0].close()


def connected(on) -> tuple[socket.socket, socket.socket]:
    """Return the client's and the server's end of a new connection."""
    with on.server.call(lambda: socket.create_server((on.server.address, 0))) as listener:
        client = on.client.call(lambda: socket.create_connection(listener.getsockname(), 5))
        server = listener.accept()[0]
    server.settimeout(5)
    client.settimeout(1)
    client.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    return client, server


def is_reset(server: socket.socket) -> bool:
    """Return whether a connection was reset: Linux reports that once, as the error of the socket."""
    return until(lambda: server.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR) == 104, 5)


def set_checksums(host: Host, where: str, to: str) -> None:
    """Turn "on" or "off" that a device of a host leaves checksums to the next one; where "off", it computes them."""
    host.run(["ethtool", "-K", where, "tx", to], check=True, stdout=subprocess.DEVNULL)


@pytest.mark.parametrize("checksums", ["never computed", "by the sender", "on the way"])
@pytest.mark.parametrize("mode", MODES)
def test_the_packet_that_raises_the_alarm_resets_the_server_and_the_client_hears_no_more(on, detector, mode, checksums):
    """Where a checksum is computed, the receiver checks it; "on the way" is behind the program."""
    loaded = detector(mode)
    set_checksums(on.client, "eth0", "off" if checksums == "by the sender" else "on")
    set_checksums(on.port, "server", "off" if checksums == "on the way" else "on")
    host = on.port if checksums == "on the way" else on.server
    with loaded.attached(host, mode):
        (client, server), (other, peer) = connected(on), connected(on)
        with client, server, other, peer:
            client.sendall(SHORT)
            assert server.recv(1000) == SHORT
            client.sendall(LONG)
            assert is_reset(server)
            with pytest.raises(TimeoutError):
                client.recv(10)
            other.sendall(SHORT)
            assert peer.recv(1000) == SHORT
            peer.sendall(SHORT)
            assert other.recv(1000) == SHORT
        assert loaded.flagged().sum() == 1
    assert attachments(host) == []


def test_an_alarm_by_what_leaves_cuts_the_connection_off_when_the_next_packet_arrives(on, detector):
    with detector("tc_both").attached(on.server, "tc_both"):
        client, server = connected(on)
        with client, server:
            server.sendall(LONG)
            assert client.recv(1000) == LONG
            client.setblocking(True)
            assert is_reset(server)


def test_a_client_that_has_forgotten_the_connection_may_still_reset_the_server(on, detector):
    """Linux answers packets of a connection that it does not know by a reset without ACK."""
    with detector("tc_both").attached(on.server, "tc_both"):
        client, server = connected(on)
        with server:
            client.setsockopt(socket.IPPROTO_TCP, TCP_REPAIR, 1)
            client.close()  # sends nothing
            server.sendall(LONG)
            assert is_reset(server)


def test_redirect_takes_what_arrives_of_a_flagged_flow_and_only_the_alarm_of_what_leaves(on, detector):
    loaded = detector("tc_both", "redirect")
    with loaded.attached(on.server, "tc_both"):
        client, server = connected(on)
        with client, server:
            server.sendall(LONG)
            assert client.recv(1000) == LONG
            server.sendall(SHORT)
            assert client.recv(1000) == SHORT
        suspects = loaded.suspects()
    rows, _ = library.parse(suspects["data"], suspects["caplen"])
    ports = rows["sport"].tolist()
    assert suspects["len"][0] == 14 + 20 + 32 + len(LONG)  # its payload is not in the linear part of the buffer
    assert len(ports) > 1 and set(ports[1:]) == {rows["dport"][0]}
