"""A receiver that is too slow has its losses counted, and one that dies fails its trial only."""

import contextlib
import socket
import time
from dataclasses import replace

import numpy as np
import psutil
import pytest
from machine_state import until

from ids_repro import config
from ids_repro.data.features import FEATURES
from ids_repro.models.fixed import layer_shapes
from ids_repro.models.int_mlp_log2 import quantize_log2
from ids_repro.models.model import Model
from ids_repro.models.scaling import MinMax
from ids_repro.native.layouts import Q
from ids_repro.sweep.link_netns import two_namespaces
from ids_repro.sweep.methods import Method
from ids_repro.sweep.receivers import Receivers
from ids_repro.sweep.run import run_sweep

pytestmark = [pytest.mark.root, pytest.mark.bpf, pytest.mark.usefixtures("nothing_left")]
HPING3 = {"intervals_us": (0,), "rates_pps": ()}
LIVE_FRAMES = {"intervals_us": (), "rates_pps": (50_000,)}


def profile(traffic: dict, trial_s: float, repeats: int) -> config.Profile:
    """Return a profile of one rate."""
    return config.profile("smoke", churn_pps=(), trial_s=trial_s, repeats=repeats, refine=0, **traffic)


def processes(name: str) -> list[psutil.Process]:
    """Return the processes of a program, or of a module of ids_repro.sweep."""
    module = f"ids_repro.sweep.{name}"
    running = psutil.process_iter(["name", "cmdline"])
    return [p for p in running if p.info["name"].startswith(name) or module in (p.info["cmdline"] or ())]


@pytest.mark.parametrize(
    ("method", "program", "place"), [("rawsock1_nn_fused", "rawsock", "socket"), ("afxdp_nn_fused", "afxdp", "ring")]
)
def test_what_a_receiver_is_too_slow_for_is_counted_where_it_was_lost(tmp_path, models, method, program, place):
    def stop_it_meanwhile(seconds):
        stopped = processes(program)
        for process in stopped:
            process.suspend()
        time.sleep(seconds)
        for process in stopped:
            process.resume()

    asked = profile(LIVE_FRAMES, trial_s=1.0, repeats=1)
    (made,) = run_sweep(models["binary"], asked, [method], results=tmp_path, wait=stop_it_meanwhile)
    raw = made["raw"]
    assert (made["status"], made["reason"]) == ("ok", "")
    assert raw["dropped_packets"][place] > 10_000
    assert raw["sent_packets"] == raw["received_packets"] + sum(raw["dropped_packets"].values())


@pytest.mark.parametrize("victim", ["hping3", "rawsock", "afxdp", "load_agent"])
def test_a_trial_whose_sender_or_receiver_dies_is_recorded_as_failed_and_the_next_one_is_well(tmp_path, models, victim):
    def kill_in_the_first_trial(seconds):
        for process in () if (tmp_path / "sweep.jsonl").exists() else processes(victim):
            process.kill()
        time.sleep(seconds)

    asked = profile(HPING3 if victim == "hping3" else LIVE_FRAMES, trial_s=0.3, repeats=2)
    method = "afxdp_nn_fused" if victim == "afxdp" else "rawsock1_nn_fused"
    first, second = run_sweep(models["binary"], asked, [method], results=tmp_path, wait=kill_in_the_first_trial)
    assert first["status"] == "failed"
    assert {"load_agent": "the generator on the client ended"}.get(victim, f"{victim} ended") in first["reason"]
    assert (second["status"], second["reason"]) == ("ok", "")


def length_detector(detector: Model) -> Model:
    """Return a detector whose net flags a flow at a packet of at least 500 bytes, whatever the time."""
    weights = [np.zeros(shape) for shape in layer_shapes(2)]
    weights[0][FEATURES.index("len"), 0] = weights[1][0, 0] = weights[2][0, 1] = 1.0
    net = quantize_log2(weights, MinMax(np.zeros(12, np.int64), np.full(12, 1500 << Q)))
    x = np.zeros((1, 12), np.int64)
    x[0, FEATURES.index("len")] = 500 << Q
    net = replace(net, flag_at=int(np.diff(net.logits(x))[0, 0]))
    return replace(detector, twins=detector.twins | {"nn_log2": net})


DETECTORS = {
    "rawsock": Method("rawsock", "nn"),
    "afxdp": Method("afxdp", "nn"),
    "xdp": Method("xdp_drv", "nn", "log2"),
}


@pytest.mark.parametrize("where", DETECTORS)
def test_a_detector_flags_the_same_packets_in_a_raw_socket_in_af_xdp_and_in_the_kernel(detector, where, monkeypatch):
    lengths = [10] * 5 + [900] + [10] * 4  # of one flow: it is flagged at the sixth packet and stays so
    variant = Method.variant
    monkeypatch.setattr(Method, "variant", lambda method, n: replace(variant(method, n), evidence=True))
    with two_namespaces() as link, contextlib.ExitStack() as stack:
        receivers = Receivers(length_detector(detector), link, stack)
        with receivers.running(DETECTORS[where]) as receiver:
            with link.client.call(lambda: socket.socket(socket.AF_INET, socket.SOCK_DGRAM)) as sender:
                for length in lengths:
                    sender.sendto(bytes(length), (link.target, 9))
            assert until(lambda: receiver.counts()["received"] >= len(lengths))
            assert receiver.counts()["verdicts"] == [5, 5]
