"""A program on a device without Ethernet sees the same flows as on one with it; other link types are refused by name.

The packets are those of real sockets, through a tunnel of two tun devices.
"""

import errno
import json
import os
import socket

import numpy as np
import pytest
from machine_state import until
from made_models import BLOCKED
from tunnel import open_tun, tunnel

from ids_repro.data import packets
from ids_repro.live import pins
from ids_repro.network.hosts import Host

pytestmark = [pytest.mark.root, pytest.mark.bpf]
ENDS = ("10.96.0.1", "10.96.0.2")
OPEN = 7777


@pytest.fixture
def tun(hosts):
    """Two hosts joined by a tunnel whose devices are named tun0."""
    with tunnel(dict(zip((hosts["client"], hosts["server"]), ENDS, strict=True))):
        yield


def knock(client: Host, port: int, n: int) -> None:
    """Begin n connections of TCP, each from a port of its own."""
    for _ in range(n):
        with client.call(lambda: socket.socket(socket.AF_INET, socket.SOCK_STREAM)) as one:
            assert one.connect_ex((ENDS[1], port)) == errno.ECONNREFUSED


@pytest.mark.usefixtures("tun")
@pytest.mark.parametrize("hook", ["xdp-skb", "tc"])
def test_every_syn_through_a_tunnel_is_a_flow_with_the_verdict_of_its_port(ids, hosts, files, tmp_path, hook):
    options = ("--hook", hook, "--classifier", "dt", "--action", "redirect", "--yes-drop")
    assert ids("attach", "tun0", "--model", files["binary"], *options)[0] == 0
    try:
        knock(hosts["client"], OPEN, 50)
        with hosts["client"].call(lambda: socket.socket(socket.AF_INET, socket.SOCK_DGRAM)) as sender:
            for n in range(20):
                sender.sendto(bytes(n), (ENDS[1], BLOCKED))

        def look() -> dict:
            return json.loads(ids("status", "--json")[1])[0]

        assert until(lambda: sum(look()["verdicts"].values()) >= 70)
        found = look()
        assert {name: n for name, n in found["reasons"].items() if n} == {"ok": 70}
        assert (found["flows"], found["verdicts"]) == (51, {"Normal": 50, "Attack": 20})
        assert f"udp {ENDS[0]}:" in ids("samples", "tun0", "--count", 5)[1]
        assert ids("samples", "tun0", "--count", 15, "--out", tmp_path / "out.pcap")[0] == 0
        rows = packets.read(tmp_path / "out.pcap").rows
        np.testing.assert_array_equal(rows["len"], 28 + np.arange(5, 20))
        assert set(rows["dport"].tolist()) == {BLOCKED}
    finally:
        ids("detach", "tun0")


@pytest.mark.usefixtures("tun")
def test_a_tunnel_has_no_native_xdp(ids, files):
    code, said = ids("attach", "tun0", "--model", files["binary"])
    assert code == 2 and "no native XDP" in said


@pytest.mark.parametrize(("link", "name"), [(803, "ieee802.11/radiotap"), (280, "can"), (801, "ieee802.11")])
def test_another_link_type_is_refused_by_its_name(ids, server, files, link, name):
    fd = server.call(open_tun, "odd0", link)
    try:
        for hook in ("xdp-skb", "tc"):
            code, said = ids("attach", "odd0", "--model", files["binary"], "--hook", hook)
            assert code == 2 and f"odd0 is of link type {name} ({link}, tun)" in said
        assert not pins.FOLDER.exists()
    finally:
        os.close(fd)
