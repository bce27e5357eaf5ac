"""A program is found wherever its interface was moved; what runs no longer is forgotten; what is not ours stays."""

import json
import signal
import subprocess
import sys

import pytest
from machine_state import attachments

from ids_repro import config
from ids_repro.cli import main
from ids_repro.kernel.attach import xdp_programs
from ids_repro.live import attached, pins
from ids_repro.network.hosts import Host
from ids_repro.network.setting_kinds import KINDS

pytestmark = [pytest.mark.root, pytest.mark.bpf]
TSO = "tcp-segmentation-offload"


@pytest.fixture
def pair(server):
    """Two interfaces of the server that are joined, v0 and v1."""
    server.run(["ip", "link", "add", "v0", "type", "veth", "peer", "name", "v1"], check=True)
    yield
    server.run(["ip", "link", "del", "v1"])


@pytest.fixture
def other(hosts):
    """Another network namespace, where some indices are taken."""
    host = Host("other", "10.97.0.1")
    subprocess.run(["ip", "netns", "add", host.ns], check=True)
    yield host
    if host.ns in subprocess.run(["ip", "netns"], capture_output=True, text=True).stdout:
        for iface in host.call(attached.attached):
            host.call(attached.detach, iface)
        subprocess.run(["ip", "netns", "del", host.ns], check=True)


def told(host, capsys) -> list[dict]:
    assert host.call(main, ["status", "--json"]) == 0
    return json.loads(capsys.readouterr().out)


@pytest.mark.usefixtures("pair")
@pytest.mark.parametrize("taken", [False, True])
@pytest.mark.parametrize("asked_first", ["server", "other", "client"])
def test_a_program_whose_interface_was_moved_is_seen_and_detached_there(
    ids, hosts, server, other, files, capsys, taken, asked_first
):
    ids("attach", "v0", "--model", files["binary"], "--hook", "xdp-skb", "--offloads", "off")
    assert server.call(KINDS["offload"][0], "v1", TSO) == "off"
    (number,) = server.call(xdp_programs)
    (index,) = server.call(xdp_programs).values()
    for n in range(index * taken):  # so that v0 has to get another index there
        other.run(["ip", "link", "add", f"t{n}", "type", "bridge"], check=True)
    server.run(["ip", "link", "set", "v0", "netns", other.ns], check=True)
    assert (other.call(xdp_programs)[number] == index) == (not taken)
    asked = {"server": server, "other": other, "client": hosts["client"]}[asked_first]
    if asked is not other:
        assert told(asked, capsys) == []
    (found,) = told(other, capsys)
    assert (found["iface"], found["mode"]) == ("v0", "xdp_skb")
    words = f"v0 was moved to another network namespace with its program: 'nsenter --net=/run/netns/{other.ns} "
    code, said = ids("status")
    assert code == 0 and said.startswith("no interface has a program of ids_repro\n\n" + words)
    code, said = ids("detach", "v0")
    assert code == 2 and "there is no interface 'v0' here" in said and words in said
    assert hosts["client"].call(main, ["status"]) == 0 and "was moved" not in capsys.readouterr().out
    assert server.call(KINDS["offload"][0], "v1", TSO) == "on"  # no packets come from there any more
    assert other.call(main, ["detach", "v0"]) == 0 and capsys.readouterr().out == "v0: detached\n"
    assert attachments(other) == [] and not pins.FOLDER.exists()


@pytest.mark.usefixtures("pair")
def test_a_program_whose_interface_left_a_namespace_that_is_gone_stays(ids, hosts, server, other, files, capsys):
    server.run(["ip", "link", "set", "v0", "netns", other.ns], check=True)
    argv = ["attach", "v0", "--model", str(files["binary"]), "--hook", "xdp-skb"]
    assert other.call(main, argv) == 0
    other.run(["ip", "link", "set", "v0", "netns", server.ns], check=True)
    subprocess.run(["ip", "netns", "del", other.ns], check=True)
    capsys.readouterr()
    assert told(hosts["client"], capsys) == []
    assert ids("detach", "v0") == (0, "v0: detached\n")


@pytest.mark.usefixtures("pair")
def test_tc_does_not_outlive_a_move_and_its_pins_go(ids, server, other, files, capsys):
    ids("attach", "v0", "--model", files["binary"], "--hook", "tc")
    server.run(["ip", "link", "set", "v0", "netns", other.ns], check=True)
    assert told(other, capsys) == [] == attachments(other)
    assert ids("status")[0] == 0 and not pins.FOLDER.exists()


def test_somebody_elses_empty_clsact_stays_though_an_attach_was_killed(ids, server, files):
    server.run(["tc", "qdisc", "add", "dev", "eth0", "clsact"], check=True)
    try:
        code = f"""
import os, pathlib, signal
from ids_repro.kernel import attach as hooks, variants
from ids_repro.live import attached as live
hooks._attach_tc = lambda *_: os.kill(os.getpid(), signal.SIGKILL)
live.attach("eth0", pathlib.Path({str(files["binary"])!r}), "tc", variants.Variant())
"""
        assert server.run([sys.executable, "-c", code], cwd=config.ROOT).returncode == -signal.SIGKILL
        assert "its program was gone already" in ids("detach", "eth0")[1]
        assert [one["kind"] for one in attachments(server)] == ["clsact"]
        assert ids("attach", "eth0", "--model", files["binary"], "--hook", "tc")[0] == 0
        assert ids("detach", "eth0") == (0, "eth0: detached\n")
        assert [one["kind"] for one in attachments(server)] == ["clsact"]
    finally:
        server.run(["tc", "qdisc", "del", "dev", "eth0", "clsact"])


def clsacts(server) -> list[str]:
    return [one["kind"] for one in attachments(server)]


def remake_clsact(server) -> None:
    """Do as somebody who removes what is at TC and makes a qdisc of his own."""
    server.run(["tc", "qdisc", "del", "dev", "eth0", "clsact"], capture_output=True)
    server.run(["tc", "qdisc", "add", "dev", "eth0", "clsact"], check=True)


@pytest.mark.parametrize("command", ["status", "detach"])
def test_a_clsact_that_somebody_made_in_place_of_ours_stays(ids, server, files, command):
    ids("attach", "eth0", "--model", files["binary"], "--hook", "tc")
    remake_clsact(server)
    try:
        ids(*([command] if command == "status" else [command, "eth0"]))
        assert clsacts(server) == ["clsact"] and not pins.FOLDER.exists()
    finally:
        server.run(["tc", "qdisc", "del", "dev", "eth0", "clsact"])


def building(server, *argv) -> subprocess.Popen:
    """Start to attach a program, and return while it is built."""
    command = [sys.executable, "-m", "ids_repro", "attach", *map(str, argv)]
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
    process = server.popen(command, cwd=config.ROOT, text=True, **pipes)
    assert "a flow table" in process.stdout.readline()
    return process


def test_a_clsact_that_somebody_made_while_ours_was_built_stays(ids, server, files):
    process = building(server, "eth0", "--model", files["binary"], "--hook", "tc")
    remake_clsact(server)
    try:
        assert process.communicate(timeout=60)[1] == "" and process.returncode == 0
        assert ids("detach", "eth0") == (0, "eth0: detached\n")
        assert clsacts(server) == ["clsact"]
    finally:
        server.run(["tc", "qdisc", "del", "dev", "eth0", "clsact"])


@pytest.mark.usefixtures("pair")
@pytest.mark.parametrize("change", ["made again", "swapped"])
@pytest.mark.parametrize("hook", ["tc-both", "xdp-skb"])
def test_an_interface_that_is_another_one_when_the_program_is_built_gets_none(ids, server, files, hook, change):
    process = building(server, "v0", "--model", files["binary"], "--hook", hook)
    if change == "made again":
        server.run(["ip", "link", "del", "v0"], check=True)
        server.run(["ip", "link", "add", "v0", "type", "veth", "peer", "name", "v1"], check=True)
    else:
        for old, new in (("v0", "v2"), ("v1", "v0"), ("v2", "v1")):
            server.run(["ip", "link", "set", old, "name", new], check=True)
    _, err = process.communicate(timeout=60)
    assert (process.returncode, err.count("\n")) == (2, 1)
    assert "v0 is another interface than it was a moment ago: look, and try again" in err
    assert attachments(server) == [] and ids("status")[0] == 0 and not pins.FOLDER.exists()


def test_filters_before_ours_are_told(ids, server, files):
    server.run(["tc", "qdisc", "add", "dev", "eth0", "clsact"], check=True)
    try:
        argv = "tc filter add dev eth0 ingress pref 1 protocol ip u32 match ip src 192.0.2.1/32 flowid 1:1"
        server.run(argv.split(), check=True)
        _, said = ids("attach", "eth0", "--model", files["binary"], "--hook", "tc")
        assert "Filters of others that stand before it: 1 ('tc filter show dev eth0 ingress'). It sees what" in said
        assert ids("detach", "eth0")[0] == 0
        assert len(server.run(["tc", "filter", "show", "dev", "eth0", "ingress"], capture_output=True).stdout) > 0
    finally:
        server.run(["tc", "qdisc", "del", "dev", "eth0", "clsact"])
