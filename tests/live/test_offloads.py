"""Offloads that merge packets are told, turned off with the program, and put back when it goes, whatever happens."""

import json
import signal
import socket
import struct
import sys
import threading

import pytest
from machine_state import until

from ids_repro import config
from ids_repro.live import offloads
from ids_repro.network import facts
from ids_repro.network.setting_kinds import KINDS

pytestmark = [pytest.mark.root, pytest.mark.bpf]
GRO, TSO = "generic-receive-offload", "tcp-segmentation-offload"


def is_on(host, device: str, name: str) -> bool:
    return host.call(KINDS["offload"][0], device, name) == "on"


@pytest.fixture
def merging(hosts, server):
    """The server's interface merges what it receives; the client's sends segments as they are on a wire."""
    hosts["client"].run(["ethtool", "-K", "eth0", "tso", "off", "gso", "off"], check=True)
    server.run(["ethtool", "-K", "eth0", "gro", "on"], check=True)
    yield
    hosts["client"].run(["ethtool", "-K", "eth0", "tso", "on", "gso", "on"], check=True)
    server.run(["ethtool", "-K", "eth0", "gro", "off"], check=True)


def stream(hosts, source: str = "client", sink: str = "server", size: int = 4 << 20) -> None:
    """Send so many bytes from a host to another, in one connection of TCP."""
    with hosts[sink].call(socket.create_server, (hosts[sink].address, 0)) as listener:

        def drain() -> None:
            with listener.accept()[0] as one:
                while one.recv(1 << 20):
                    pass

        reader = threading.Thread(target=drain)
        reader.start()
        with hosts[source].call(socket.create_connection, listener.getsockname()) as sender:
            sender.sendall(bytes(size))
        reader.join()


@pytest.mark.usefixtures("merging")
def test_merged_packets_are_told_and_come_apart_with_offloads_off(ids, hosts, server, files):
    lengths = {}
    for choice in ("keep", "off"):
        _, said = ids("attach", "eth0", "--model", files["binary"], "--hook", "tc", "--offloads", choice)
        try:
            assert (f"eth0 has {GRO} on (--offloads off turns that off" in said) == (choice == "keep")
            assert (f"Off until detach: {GRO}." in said) == (choice == "off")
            assert "behind eth0 in another network namespace" in said
            assert is_on(server, "eth0", GRO) == (choice == "keep")
            stream(hosts)
            lengths[choice] = mean_length(ids)
        finally:
            ids("detach", "eth0")
        assert is_on(server, "eth0", GRO)
    assert lengths["keep"] > 5000 and 1000 < lengths["off"] <= 1500, lengths


def mean_length(ids) -> float:
    """Return the mean length of the packets that the one program has seen; the table shows the training's beside it."""
    (found,) = json.loads(ids("status", "--json")[1])
    learnt = found["models"][0]["mean_length"]
    assert 40 < learnt < 1500
    assert f" {found['mean_length']:,.0f}  byte; the model was trained on {learnt:,.0f}\n" in ids("status", "eth0")[1]
    return found["mean_length"]


@pytest.mark.usefixtures("merging")
@pytest.mark.parametrize(("hook", "low", "high"), [("xdp-skb", 5000, 65_535), ("xdp-drv", 1000, 1500)])
def test_generic_xdp_sees_what_a_peer_leaves_whole_and_native_xdp_packets_as_they_are(
    ids, hosts, server, files, hook, low, high
):
    hosts["client"].run(["ethtool", "-K", "eth0", "tso", "on", "gso", "on"], check=True)
    _, said = ids("attach", "eth0", "--model", files["binary"], "--hook", hook)
    try:
        assert GRO not in said  # generic XDP keeps the interface from merging
        assert ("behind eth0" in said) == (hook == "xdp-skb")
        stream(hosts)
        assert low < mean_length(ids) <= high
    finally:
        ids("detach", "eth0")


@pytest.mark.usefixtures("merging")
def test_what_leaves_is_seen_whole_and_the_command_that_is_told_keeps_it_apart(ids, hosts, server, files):
    _, said = ids("attach", "eth0", "--model", files["binary"], "--hook", "tc-both", "--offloads", "off")
    remedy = said.split("one at a time after '")[1].split("'")[0]
    try:
        stream(hosts, "server", "client")
        assert mean_length(ids) > 3000
    finally:
        ids("detach", "eth0")
    server.run(remedy.split(), check=True)
    ids("attach", "eth0", "--model", files["binary"], "--hook", "tc-both", "--offloads", "off")
    try:
        stream(hosts, "server", "client")
        assert mean_length(ids) <= 1500
    finally:
        ids("detach", "eth0")
        server.run(["ip", "link", "set", "eth0", "gso_max_segs", "65535"], check=True)


@pytest.mark.usefixtures("merging")
@pytest.mark.parametrize("where", ["offloads.turn_off(about", "hooks.attach(program.fd"])
def test_a_killed_attach_leaves_offloads_that_the_next_command_puts_back(ids, server, files, where):
    module, call = where.split("(")[0].split(".")
    code = f"""
import os, pathlib, signal
from ids_repro.kernel import attach as hooks, variants
from ids_repro.live import attached as live, offloads
real = {module}.{call}
{module}.{call} = lambda *args: (real(*args), os.kill(os.getpid(), signal.SIGKILL))
live.attach("eth0", pathlib.Path({str(files["binary"])!r}), "tc", variants.Variant(), offloads_off=True)
"""
    assert server.run([sys.executable, "-c", code], cwd=config.ROOT).returncode == -signal.SIGKILL
    assert not is_on(server, "eth0", GRO)
    if module == "hooks":  # the program is on, and stays until detach
        assert json.loads(ids("status", "--json")[1])[0]["mode"] == "tc"
        assert not is_on(server, "eth0", GRO)
        ids("detach", "eth0")
    else:
        assert json.loads(ids("status", "--json")[1]) == []
    assert is_on(server, "eth0", GRO)


def super_packet(sender: socket.socket, size: int = 20_000) -> None:
    """Send a segment of TCP that the device, or the kernel before it, cuts into packets of 1,500 bytes."""
    tcp = struct.pack(">HHIIBBHHH", 1000, 80, 1, 1, 5 << 4, 0x10, 1000, 0, 0)
    ip = struct.pack(">BBHHHBBH4s4s", 0x45, 0, 40 + size, 0, 0, 64, 6, 0, bytes([10, 9, 0, 1]), bytes([10, 9, 0, 2]))
    # struct virtio_net_hdr: needs a checksum, TCP over IPv4; lengths of the headers and of a packet's data
    about = struct.pack("<BBHHHH", 1, 1, 54, 1460, 34, 16)
    sender.send(about + bytes(12) + b"\x08\x00" + ip + tcp + bytes(size))


def test_the_other_end_of_a_veth_pair_and_ports_of_a_bridge_count(ids, server, files):
    for argv in ("add x0 type veth peer name x1", "add br0 type bridge", "set x1 master br0", "set x0 up", "set x1 up"):
        server.run(["ip", "link", *argv.split()], check=True)
    server.run(["ip", "link", "set", "br0", "up"], check=True)
    server.run(["ethtool", "-K", "x1", "gro", "on"], check=True)
    sender = server.call(lambda: socket.socket(socket.AF_PACKET, socket.SOCK_RAW))
    try:
        server.call(lambda: sender.bind(("x0", 0)))
        sender.setsockopt(263, 15, 1)  # SOL_PACKET, PACKET_VNET_HDR
        found = {(one.device, one.name) for one in server.call(offloads.merging, "br0", "tc")}
        assert found == {("x1", GRO), ("x0", TSO), ("x0", "tx-udp-segmentation")}
        assert server.call(offloads.merging, "br0", "xdp_drv") == []
        for choice, packets in (("keep", 1), ("off", 14)):
            ids("attach", "x1", "--model", files["binary"], "--hook", "tc", "--offloads", choice)

            def seen() -> int:
                return json.loads(ids("status", "--json")[1])[0]["reasons"]["ok"]

            before = seen()
            super_packet(sender)
            assert until(lambda before=before, n=packets: seen() >= before + n)
            assert seen() == before + packets
            assert is_on(server, "x0", TSO) == (choice == "keep")
            ids("detach", "x1")
            assert is_on(server, "x0", TSO) and is_on(server, "x1", GRO)
    finally:
        sender.close()
        for name in ("x0", "br0"):
            server.run(["ip", "link", "del", name])


@pytest.mark.usefixtures("merging")
def test_what_does_not_go_back_is_told_with_the_command(server):
    index, mac = server.call(socket.if_nametoindex, "eth0"), server.call(facts.state, "eth0")["mac"]
    with pytest.warns(UserWarning, match="'ethtool -K eth0 rx-gro-hw on' turns it on"):
        server.call(offloads.put_back, [(index, "rx-gro-hw", mac)])
    assert server.call(offloads.put_back, [(99, GRO, mac)]) is None  # a device that is gone
    assert server.call(offloads.put_back, [(index, "rx-gro-hw", "02:00:00:00:00:00")]) is None  # another's index
