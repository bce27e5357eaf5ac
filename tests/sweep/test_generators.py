"""Both generators send the same frames, at the rate asked for, and end when they should.

Covers also: ids_repro.sweep.load_agent and ids_repro.sweep.sender, through which every generator here is started.
"""

import contextlib
import ipaddress
import os
import re
import signal
import socket
import struct
import time
from dataclasses import replace
from pathlib import Path

import psutil
import pytest
from machine_state import attachments, interfaces, load_processes, ones_complement, tap, until

from ids_repro import config
from ids_repro.config import UserError
from ids_repro.kernel.bpf_syscall import hold_xdp
from ids_repro.kernel.program import Program
from ids_repro.kernel.variants import VARIANTS
from ids_repro.sweep import generators
from ids_repro.sweep.generators import let_send
from ids_repro.sweep.link_netns import two_namespaces
from ids_repro.sweep.sender import Sender
from ids_repro.sweep.uplink import FIRST_PORT, SOURCES, Wire

pytestmark = [pytest.mark.root, pytest.mark.quiet, pytest.mark.bpf]
LIVE = {"generator": "live_frames", "rate_pps": 20_000, "flows": "new"}
HPING3 = {"generator": "hping3", "interval_us": 1000, "flows": "new"}


@pytest.fixture(scope="module")
def on():
    """The link. At the end nothing of it is left."""
    before = interfaces()
    with two_namespaces() as made:
        yield made
    assert (load_processes(), interfaces()) == ([], before)


@pytest.fixture(scope="module")
def sender(on):
    """The process on the client."""
    with contextlib.closing(Sender(on)) as made:
        yield made


def fields(frame):
    """Return the fields of a SYN that both generators should set alike."""
    ip, tcp = frame[14:34], frame[34:54]
    assert ones_complement(ip) == 0xFFFF
    assert ones_complement(ip[12:] + struct.pack("!HH", 6, 20) + tcp) == 0xFFFF
    head = struct.unpack("!BBH", ip[:4]), ip[8:10], ip[12:]
    return {"macs": frame[:14], "ip": head, "dport": tcp[2:4], "offset, flags, window": tcp[12:16], "size": len(frame)}


def seen(on, sender, command, n=8):
    """Return the first n frames of a generator."""
    with tap(on.server) as packets, sender.running(10, **command):
        return [packets.recv(200) for _ in range(n)]


def received(packets):
    """Return all frames until none comes for 0.5 s."""
    packets.settimeout(0.5)
    frames = []
    with contextlib.suppress(TimeoutError):
        while True:
            frames.append(packets.recv(200))
    return frames


def ports(frames):
    """Return the frames' source ports."""
    return [struct.unpack("!H", frame[34:36])[0] for frame in frames]


def test_live_frames_are_the_syns_of_hping3(on, sender):
    live, hping3 = seen(on, sender, LIVE), seen(on, sender, HPING3)
    assert {str(fields(frame)) for frame in live} == {str(fields(frame)) for frame in hping3}
    assert ports(live) == list(range(1024, 1032))
    assert ports(hping3) == list(range(1024, 1032))


def test_one_flow_keeps_its_port(on, sender):
    for command in (LIVE, HPING3):
        frames = seen(on, sender, command | {"flows": "one"})
        assert set(ports(frames)) == {1024}
        assert len({str(fields(frame)) for frame in frames}) == 1  # and each sum is right


def test_after_the_last_port_comes_another_address_so_every_packet_is_a_new_flow(on, sender):
    command = {"generator": "live_frames", "rate_pps": 50_000, "flows": "new", "packets": 2 * 64_512 + 2}
    with tap(on.server) as packets, sender.running(20, **command):
        frames = received(packets)
    assert ports(frames)[:3] == [1024, 1025, 1026]
    assert ports(frames)[-3:] == [65535, 1024, 1025]
    assert len(frames) == len({frame[26:38] for frame in frames}), "no two have the same addresses and ports"
    assert len(frames) > 0.9 * (2 * 64_512 + 2)  # a busy machine may lose some
    first, *others = dict.fromkeys(ipaddress.ip_address(frame[26:30]) for frame in frames)
    assert str(first) == on.client.address
    assert others == [others[0], others[0] + 1]
    assert all(address in ipaddress.ip_network(SOURCES) for address in others)
    same = {str(fields(frame) | {"ip": fields(frame)["ip"][:2]}) for frame in frames[::101]}  # and the sums are right
    assert len(same) == 1


def test_the_server_takes_new_flows_from_addresses_that_its_reverse_path_filter_would_drop(on, sender):
    def dropped() -> int:
        lines = Path("/proc/net/netstat").read_text().splitlines()
        heads, values = (line.split() for line in lines if line.startswith("TcpExt:"))
        return int(dict(zip(heads, values, strict=True))["IPReversePathFilter"])

    def filters() -> None:
        for name in ("all", on.server.iface):
            Path(f"/proc/sys/net/ipv4/conf/{name}/rp_filter").write_text("1")

    on.server.call(filters)
    before = on.server.call(dropped)
    with sender.running(20, generator="live_frames", rate_pps=200_000, flows="new", packets=3 * 64_512) as out:
        assert until(lambda: out is not None and on.counters()["received_interface"] > 0)
        time.sleep(1.2)
    assert on.server.call(dropped) == before


def test_live_frames_stop_after_as_many_as_asked(on, sender):
    before = on.counters()["sent"]
    with sender.running(10, **LIVE, packets=1234) as out:
        assert until(lambda: on.counters()["sent"] == before + 1234)
        time.sleep(0.1)
    assert on.counters()["sent"] == before + 1234
    assert out["duration_s"] == pytest.approx(1234 / LIVE["rate_pps"], rel=0.5)


@pytest.mark.parametrize("rate_pps", [10_000, 400_000])
def test_live_frames_keep_the_rate_that_was_asked_for(on, sender, rate_pps):
    before = on.counters()["sent"]
    with sender.running(10, generator="live_frames", rate_pps=rate_pps, flows="new") as out:
        time.sleep(0.3)
    r_tx = (on.counters()["sent"] - before) / out["duration_s"]
    assert 0.7 * rate_pps < r_tx < 1.02 * rate_pps  # less only where something else had the CPU


@pytest.mark.parametrize("command", [LIVE, HPING3 | {"interval_us": 0}, HPING3 | {"interval_us": 1}])
def test_a_generator_stops_at_once(on, sender, command):
    with sender.running(10, **command):
        stopping = time.monotonic()
    assert time.monotonic() - stopping < 0.5
    time.sleep(on.drain_s)
    after = on.counters()
    time.sleep(0.1)
    assert on.counters() == after


@pytest.mark.parametrize("command", [LIVE, HPING3])
def test_sigterm_ends_the_load_within_50_ms(on, sender, command):
    with pytest.raises(UserError, match="the generator on the client ended"), sender.running(10, **command):
        name = "ids_repro.sweep.load_agent"
        (agent,) = (p for p in psutil.process_iter(["cmdline"]) if name in (p.info["cmdline"] or ()))
        agent.send_signal(signal.SIGTERM)
        time.sleep(0.05)
        after = on.counters()["sent"]
        time.sleep(0.1)
        assert on.counters()["sent"] == after
    with sender.running(10, **command):  # and another takes its place
        assert load_processes()[0] == "load_agent"


@pytest.mark.parametrize("command", [LIVE, HPING3])
def test_a_generator_that_nobody_stops_ends_in_time_and_says_so(on, sender, command):
    with pytest.raises(UserError, match=r"nobody stopped the generator for 0\.2 s"), sender.running(0.2, **command):
        time.sleep(0.4)
        after = on.counters()["sent"]
        time.sleep(0.1)
        assert on.counters()["sent"] == after


@pytest.mark.parametrize("command", [LIVE, HPING3])
def test_a_peer_that_does_not_answer_is_named(on, command):
    silent = replace(on, target="10.77.0.9")
    with (
        contextlib.closing(Sender(silent)) as sender,
        pytest.raises(UserError, match=r"10\.77\.0\.9 does not answer on eth0"),
        sender.running(10, **command),
    ):
        pass


def test_an_interface_that_is_not_there_is_named(on):
    elsewhere = replace(on, client=replace(on.client, iface="eth7"))
    with (
        contextlib.closing(Sender(elsewhere)) as sender,
        pytest.raises(UserError, match="the client has no interface 'eth7'"),
        sender.running(10, **LIVE),
    ):
        pass


def test_without_hping3_its_remedy_is_named_and_live_frames_go_on(on, tmp_path, monkeypatch):
    for program in ("nsenter", "setpriv", "setsid", "nice", "taskset", "sh"):
        (tmp_path / program).symlink_to(next(p for p in (f"/usr/bin/{program}", f"/bin/{program}") if Path(p).exists()))
    monkeypatch.setenv("PATH", str(tmp_path))
    with contextlib.closing(Sender(on)) as sender:
        with (
            pytest.raises(UserError, match="'hping3' is not installed: run 'make system'"),
            sender.running(10, **HPING3),
        ):
            pass
        with sender.running(10, **LIVE):
            pass


def test_the_gap_has_as_many_fractional_bits_as_in_c():
    text = (config.BPF / "trafficgen.bpf.c").read_text()
    assert int(re.search(r"#define GEN_FRACTION (\d+)", text)[1]) == generators.GAP_BITS


def test_new_flows_come_from_the_addresses_that_python_knows():
    text = (config.BPF / "trafficgen.bpf.c").read_text()
    first = int(re.search(r"#define GEN_FIRST_SOURCE (0x\w+)", text)[1], 16)
    bits = int(re.search(r"#define GEN_SOURCES \(1 << (\d+)\)", text)[1])
    assert ipaddress.ip_network((first, 32 - bits)) == ipaddress.ip_network(SOURCES)
    assert int(re.search(r"#define GEN_FIRST_PORT (\d+)", text)[1]) == FIRST_PORT


def test_a_program_lets_a_driver_send_until_its_process_ends_and_a_veth_needs_none(on):
    on.client.call(let_send, Wire("eth0", on.target))
    assert attachments(on.client) == []
    with Program(VARIANTS["empty"]) as program:
        held = on.client.call(lambda: hold_xdp(program.fd, socket.if_nametoindex("eth0")))
    assert [one["mode"] for one in attachments(on.client)] == [1], "native"
    os.close(held)
    assert attachments(on.client) == []
