"""A receiver that is too slow has its losses counted, and one that dies fails its trial only."""

import time

import psutil
import pytest

from ids_repro import config
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
