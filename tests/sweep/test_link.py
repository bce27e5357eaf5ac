"""A link that goes down is named, and what it had lost is there again when it comes back."""

import contextlib
import threading
import time

import pytest
from machine_state import until

from ids_repro import config
from ids_repro.config import UserError
from ids_repro.network.hosts import Host
from ids_repro.sweep import link, run
from ids_repro.sweep.link_netns import SERVER, two_namespaces
from ids_repro.sweep.run import run_sweep
from ids_repro.sweep.sender import Generator

pytestmark = pytest.mark.usefixtures("nothing_left")


def set_link(host, state: str) -> None:
    """Set a host's interface up or down."""
    host.run(["ip", "link", "set", host.iface, state], check=True)


def tcp_segments(on) -> int:
    """How many the server's TCP has been given."""
    lines = on.server.run(["cat", "/proc/net/snmp"], capture_output=True, text=True).stdout.splitlines()
    names, values = (line.split() for line in lines if line.startswith("Tcp:"))
    return int(values[names.index("InSegs")])


def received(host):
    """Packets that its interface received."""
    return host.call(link.machine.state, host.iface)["stats"]["rx_packets"]


def test_the_server_takes_every_packet_as_far_as_tcp_and_answers_none_also_when_its_link_was_down():
    with two_namespaces() as on, contextlib.closing(Generator(on)) as sender:
        for state in ("up", "down"):
            set_link(on.server, state)
            set_link(on.server, "up")
            on.wait_until_up()
            after, answers = tcp_segments(on) + 500, received(on.client)
            with sender.running(10, generator="live_frames", rate_pps=20_000, flows="new", packets=500):
                assert until(lambda after=after: tcp_segments(on) == after)
            assert received(on.client) == answers


@pytest.mark.parametrize("end", ["client", "server"])
def test_the_end_that_was_set_down_is_named_and_sends_again_once_it_is_up(end):
    with two_namespaces() as on:
        on.check()
        set_link(getattr(on, end), "down")
        with pytest.raises(UserError, match=f"eth0 of the {end} is set down"):
            on.check()
        set_link(getattr(on, end), "up")
        on.wait_until_up()
        before = on.counters()
        on.client.call(link.machine.send, "eth0", on.target, "hello")
        assert until(lambda: on.counters()["received_interface"] == before["received_interface"] + 1)


def test_an_interface_that_is_gone_is_named_with_those_that_are_there():
    with two_namespaces() as on:
        on.server.run(["ip", "link", "del", "eth0"], check=True)
        with pytest.raises(UserError, match="client: there is no interface 'eth0'; there are lo"):
            on.check()


@pytest.mark.parametrize("method", ["no_filter", "xdp_drv_flow"])
def test_a_trial_in_which_the_link_goes_down_is_recorded_as_failed_and_the_next_one_runs(
    tmp_path, models, monkeypatch, method
):
    monkeypatch.setattr(run, "SWEEP", tmp_path / "sweep.jsonl")
    none = {"rates_pps": (), "churn_pps": (), "refine": 0}
    profile = config.profile("smoke", intervals_us=(10,), trial_s=0.31, repeats=2, **none)
    links, sleep = [], time.sleep
    make = two_namespaces

    def remembered():
        links.append(make())
        return links[-1]

    def down_then_sleep(seconds):
        if seconds == profile.trial_s and links:
            links.clear()
            server = Host("server", SERVER)
            set_link(server, "down")
            threading.Timer(1.5, set_link, (server, "up")).start()
        sleep(seconds)

    monkeypatch.setattr(run, "link", remembered)
    monkeypatch.setattr(run.time, "sleep", down_then_sleep)
    first, second = run_sweep(models["binary"], profile, [method])
    assert (first["status"], first["reason"]) == ("failed", "eth0 of the server is set down")
    assert (second["status"], second["reason"]) == ("ok", "")
