"""A detector that filters resets the connection of a flagged flow, so that the server does not keep it."""

import socket
import subprocess
from collections.abc import Iterator

import pytest
from machine_state import attachments, until
from made_models import length_tree

from ids_repro.kernel.program import Program
from ids_repro.kernel.variants import Variant
from ids_repro.sweep.link_netns import two_namespaces

pytestmark = [pytest.mark.root, pytest.mark.bpf]

MODES = {"xdp_drv": "xdp", "xdp_skb": "xdp", "tc": "tc", "tc_both": "tc_both"}
LONGEST = 500  # bytes of an IP packet; a longer one raises an alarm
SHORT, LONG = b"s" * 100, b"l" * 600


@pytest.fixture(scope="module")
def on():
    """Two namespaces with a veth pair."""
    with two_namespaces() as made:
        yield made


@pytest.fixture
def detector() -> Iterator[Program]:
    """Return what loads a detector that filters, for one kind of hook."""
    loaded = []

    def load(mode: str) -> Program:
        variant = Variant(MODES[mode], "dt", action="filter", evidence=True)
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


@pytest.mark.parametrize("checksums", ["on", "off"])
@pytest.mark.parametrize("mode", MODES)
def test_the_packet_that_raises_the_alarm_resets_the_server_and_the_client_hears_no_more(on, detector, mode, checksums):
    loaded = detector(mode)
    # "off": the sender computes checksums, and the receiver checks them
    ethtool = ["ethtool", "-K", on.client.iface, "tx", checksums]
    on.client.run(ethtool, check=True, stdout=subprocess.DEVNULL)
    with loaded.attached(on.server, mode):
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
    assert attachments(on.server) == []


def test_an_alarm_by_what_leaves_cuts_the_connection_off_when_the_next_packet_arrives(on, detector):
    with detector("tc_both").attached(on.server, "tc_both"):
        client, server = connected(on)
        with client, server:
            server.sendall(LONG)
            assert client.recv(1000) == LONG
            client.setblocking(True)
            assert is_reset(server)
