"""A link that goes down is named, and its routes are set again when it comes back.

Covers also: ids_repro.sweep.link_netns, which makes every link here.
"""

import contextlib
import threading
import time
from dataclasses import replace

import pytest
from machine_state import until

from ids_repro import config
from ids_repro.config import UserError
from ids_repro.network import facts
from ids_repro.network.hosts import Host
from ids_repro.sweep.link_netns import SERVER, two_namespaces
from ids_repro.sweep.run import run_sweep
from ids_repro.sweep.sender import Sender

pytestmark = [pytest.mark.root, pytest.mark.quiet, pytest.mark.usefixtures("nothing_left")]
NO_RATES = dict.fromkeys(("intervals_us", "rates_pps", "churn_pps", "replay_pps"), ())
SHORT = config.profile("smoke", **NO_RATES, trial_s=0.3, repeats=2, resolution=0)


def set_link(host, state: str) -> None:
    """Set a host's interface up or down."""
    host.run(["ip", "link", "set", host.iface, state], check=True)


def tcp_segments(on) -> int:
    """Return how many segments the server's TCP has received."""
    lines = on.server.run(["cat", "/proc/net/snmp"], capture_output=True, text=True).stdout.splitlines()
    names, values = (line.split() for line in lines if line.startswith("Tcp:"))
    return int(values[names.index("InSegs")])


def received(host):
    """Return how many packets a host's interface has received."""
    return host.call(facts.state, host.iface)["stats"]["rx_packets"]


@pytest.mark.bpf
def test_the_server_takes_every_packet_as_far_as_tcp_and_answers_none_also_when_its_link_was_down():
    with two_namespaces() as on, contextlib.closing(Sender(on)) as sender:
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
        on.client.call(facts.send, "eth0", on.target, "hello")
        assert until(lambda: on.counters()["received_interface"] == before["received_interface"] + 1)


def test_an_interface_that_is_gone_is_named_with_those_that_are_there():
    with two_namespaces() as on:
        on.server.run(["ip", "link", "del", "eth0"], check=True)
        with pytest.raises(UserError, match="client: there is no interface 'eth0'; there are lo"):
            on.check()


@pytest.mark.bpf
@pytest.mark.parametrize("method", ["no_filter", "xdp_drv_flow"])
def test_a_trial_in_which_the_link_goes_down_is_recorded_as_failed_and_the_next_one_waits_until_it_is_up(
    tmp_path, models, method
):
    def down_in_the_first_trial(seconds):
        if not (tmp_path / "sweep.jsonl").exists():
            server = Host("server", SERVER)
            set_link(server, "down")
            threading.Timer(1.5, set_link, (server, "up")).start()
        time.sleep(seconds)

    profile = replace(SHORT, intervals_us=(10,))
    first, second = run_sweep(models["binary"], profile, [method], results=tmp_path, wait=down_in_the_first_trial)
    assert (first["status"], first["reason"]) == ("failed", "eth0 of the server is set down")
    assert (second["status"], second["reason"]) == ("ok", "")


@pytest.mark.bpf
@pytest.mark.parametrize("end", ["client", "server"])
def test_the_end_that_goes_down_in_a_trial_is_named_and_the_next_trial_is_well(tmp_path, models, end):
    host = Host(end, "")

    def down_in_the_first_trial(seconds):
        if not (tmp_path / "sweep.jsonl").exists():
            set_link(host, "down")
        time.sleep(seconds)

    @contextlib.contextmanager
    def up_again_for_each_trial():
        with two_namespaces() as on:
            wait_until_up = on.wait_until_up
            on.wait_until_up = lambda: (set_link(host, "up"), wait_until_up())
            yield on

    profile = replace(SHORT, rates_pps=(50_000,))
    how = {"results": tmp_path, "open_link": up_again_for_each_trial, "wait": down_in_the_first_trial}
    first, second = run_sweep(models["binary"], profile, ["xdp_drv_flow"], **how)
    assert (first["status"], first["reason"]) == ("failed", f"eth0 of the {end} is set down")
    assert (second["status"], second["reason"]) == ("ok", "")
