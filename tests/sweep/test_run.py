"""A real sweep: every packet accounted for, every trial a record, resumable, and nothing left when it is stopped."""

import contextlib
import functools
import json
import os
import re
import signal
import subprocess
import sys
import time
from collections import Counter
from dataclasses import replace

import psutil
import pytest
from machine_state import alive, load_processes, until

from ids_repro import config, records
from ids_repro.config import UserError
from ids_repro.models.model import save_model
from ids_repro.network.namespaces import leftovers
from ids_repro.sweep import generators, link, run, trial
from ids_repro.sweep.link_netns import two_namespaces
from ids_repro.sweep.methods import METHODS
from ids_repro.sweep.plan import duration_text, next_rate, plan_trials
from ids_repro.sweep.run import SWEEP, run_sweep

SHORT = config.profile(
    "smoke", intervals_us=(0,), rates_pps=(10_000_000,), churn_pps=(), trial_s=0.2, repeats=1, refine=0
)
# One trial after another of a method whose receiver is a process of its own.
LONG = replace(SHORT, intervals_us=(), rates_pps=(50_000,), trial_s=1.0, repeats=4)
SCRIPT = """
import sys
from dataclasses import replace
from pathlib import Path
from ids_repro import config
from ids_repro.models.model import load_model
from ids_repro.sweep import run
run.SWEEP = Path(sys.argv[1])
model = load_model("binary", 0, Path(sys.argv[2]))
profile = config.profile("smoke", churn_pps=(), trial_s=1.0, repeats=4, refine=0)
hping3 = sys.argv[3] == "hping3"
profile = replace(profile, intervals_us=(0,) if hping3 else (), rates_pps=() if hping3 else (50_000,))
run.run_sweep(model, profile, ["rawsock1_nn_fused"])
"""


@pytest.fixture(scope="module")
def swept(models, tmp_path_factory):
    """The records of a short sweep over all methods."""
    path = tmp_path_factory.mktemp("sweep") / "sweep.jsonl"
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(run, "SWEEP", path)
        yield path, run_sweep(models["binary"], SHORT)


def test_every_method_and_rate_is_a_record(swept):
    path, made = swept
    asked = [(r["asked"]["method"], r["asked"]["interval_us"], r["asked"]["rate_pps"]) for r in made]
    traffic = [(0, None), (None, 10_000_000)]
    assert asked == [(method, *point) for point in traffic for method in METHODS]
    assert [r["reason"] for r in made if r["status"] != "ok"] == []
    assert [r for r in records.read(path) if r["status"] == "ok"] == made
    assert {r["asked"]["generator"] for r in made if r["asked"]["rate_pps"]} == {"live_frames"}


def test_sent_equals_received_plus_dropped(swept):
    for record in swept[1]:
        raw = record["raw"]
        assert raw["sent_packets"] == raw["received_packets"] + sum(raw["dropped_packets"].values())
        assert 0 < raw["received_packets"] <= raw["sent_packets"]
        assert SHORT.trial_s <= raw["duration_s"] < SHORT.trial_s + 0.5


def test_every_received_packet_was_classified(swept):
    for record in swept[1]:
        raw, method = record["raw"], METHODS[record["asked"]["method"]]
        assert sum(raw.get("verdicts", ())) == (raw["received_packets"] if method.classifier != "none" else 0)
        assert raw["workers"] == (os.cpu_count() if method.all_cpus else 1)


def test_cpu_shares_are_percent_of_the_servers_cpu(swept):
    for record in swept[1]:
        assert sum(record["raw"]["cpu_percent"].values()) == pytest.approx(100)
        assert min(record["raw"]["cpu_percent"].values()) >= 0
        assert record["raw"]["server_cpu"] == max(os.sched_getaffinity(0))


def test_the_record_says_how_the_server_was_held(swept):
    for record in swept[1]:
        assert re.fullmatch(rf"NAPI thread \d+ on CPU {max(os.sched_getaffinity(0))}", record["raw"]["held"])


def test_at_more_than_a_method_takes_packets_are_lost_and_counted(swept):
    for record in (r for r in swept[1] if r["asked"]["rate_pps"] == 10_000_000):
        raw = record["raw"]
        assert raw["sent_packets"] / raw["duration_s"] > 500_000
        assert sum(raw["dropped_packets"].values()) > 0
        if record["asked"]["method"] not in ("xdp_drv_flow", "xdp_drv_dt"):  # which take nearly all that is sent
            assert sum(raw["dropped_packets"].values()) > raw["sent_packets"] / 10


def test_a_rerun_runs_nothing_and_one_lost_record_reruns_just_that(swept, models, nothing_left):
    path, made = swept
    before = path.read_text()
    assert run_sweep(models["binary"], SHORT) == []
    assert path.read_text() == before
    lost = next(r for r in made if r["asked"]["method"] == "no_filter")
    kept = [line for line in before.splitlines() if json.loads(line)["asked"] != lost["asked"]]
    path.write_text("".join(line + "\n" for line in kept))
    (again,) = run_sweep(models["binary"], SHORT)
    assert (again["asked"], again["status"]) == (lost["asked"], "ok")


def test_another_model_is_another_trial(swept, models):
    finished = records.done(swept[0], "sweep")
    tree = models["binary"].twins["dt"]
    other = replace(models["binary"], twins=models["binary"].twins | {"dt": replace(tree, leaf=tree.leaf ^ 1)})
    identity = swept[1][0]["provenance"]["identity"] | {"model_sha256": other.sha256()}
    assert all(records.key(asked, identity) not in finished for asked in plan_trials(SHORT))


def test_methods_are_chosen_by_name():
    assert [a["method"] for a in plan_trials(LONG, "tc_nn_fused, no_filter")] == [
        "tc_nn_fused",
        "no_filter",
    ] * LONG.repeats
    with pytest.raises(UserError, match="there is no method 'xdp': use no_filter, "):
        plan_trials(LONG, "no_filter,xdp")


def measured(losses: dict[int, list[float]]) -> list[dict]:
    """Records of trials at asked rates [pps] that lost such shares."""
    raw = {"sent_packets": 1000, "received_packets": 1000}
    return [
        {"asked": {"rate_pps": rate}, "raw": raw | {"received_packets": 1000 * (1 - loss)}}
        for rate, repeats in losses.items()
        for loss in repeats
    ]


@pytest.mark.parametrize(
    ("losses", "expected"),
    [
        ({100_000: [0], 400_000: [0], 1_600_000: [0.5]}, 800_000),
        ({100_000: [0], 400_000: [0.011], 1_600_000: [0]}, 200_000),  # what held above a loss does not count
        ({100_000: [0], 400_000: [0, 0.4, 0.01]}, None),  # the median held: nothing lost
        ({100_000: [0], 400_000: [0, 0.4, 0.02]}, 200_000),
        ({100_000: [0], 104_000: [1.0]}, None),  # near enough
        ({40_000: [1.0]}, 20_000),
        ({}, None),
    ],
)
def test_the_next_rate_lies_between_the_highest_that_held_and_the_lowest_that_lost(losses, expected):
    assert next_rate(measured(losses)) == expected


def test_the_edge_of_loss_is_narrowed_down_by_trials_of_their_own_and_a_rerun_has_nothing_to_add(
    tmp_path, models, monkeypatch, nothing_left
):
    monkeypatch.setattr(run, "SWEEP", tmp_path / "sweep.jsonl")
    profile = replace(SHORT, intervals_us=(), rates_pps=(20_000, 10_000_000), refine=2)
    made = run_sweep(models["binary"], profile, ["no_filter"])
    rates = [r["asked"]["rate_pps"] for r in made]
    assert rates[:4] == [20_000, 10_000_000, 450_000, 450_000]
    assert len(rates) == 6
    assert [r["status"] for r in made] == ["ok"] * 6
    assert rates[4] == rates[5] == next_rate(made[:4])
    assert len({r["asked"]["repeat"] for r in made[2:4]}) == 2
    assert run_sweep(models["binary"], profile, ["no_filter"]) == []
    lines = (tmp_path / "sweep.jsonl").read_text().splitlines(keepends=True)
    (tmp_path / "sweep.jsonl").write_text("".join(lines[:5]))
    (again,) = run_sweep(models["binary"], profile, ["no_filter"])
    assert again["asked"] == made[5]["asked"]


@pytest.mark.parametrize(("method", "place"), [("rawsock1_nn_fused", "socket"), ("afxdp_nn_fused", "ring")])
def test_what_a_receiver_is_too_slow_for_is_counted_where_it_was_lost(
    tmp_path, models, monkeypatch, nothing_left, method, place
):
    monkeypatch.setattr(run, "SWEEP", tmp_path / "sweep.jsonl")
    sleep = time.sleep

    def stop_it_meanwhile(seconds):
        running = (p for p in psutil.process_iter(["name"]) if p.info["name"].startswith(("rawsock", "afxdp")))
        stopped = [p for p in running if seconds == LONG.trial_s]
        for process in stopped:
            process.suspend()
        sleep(seconds)
        for process in stopped:
            process.resume()

    monkeypatch.setattr(trial.time, "sleep", stop_it_meanwhile)
    (made,) = run_sweep(models["binary"], replace(LONG, repeats=1), [method])
    raw = made["raw"]
    assert (made["status"], made["reason"]) == ("ok", "")
    assert raw["dropped_packets"][place] > 10_000
    assert raw["sent_packets"] == raw["received_packets"] + sum(raw["dropped_packets"].values())


def stopped(tmp_path, model, project, how, kind) -> list[int]:
    """Stop a sweep in the middle of its second trial; returns the ids of the processes that it had started."""
    path = tmp_path / "sweep.jsonl"
    save_model(model, tmp_path)
    process = project.popen(sys.executable, "-c", SCRIPT, path, tmp_path, kind)
    try:
        assert until(lambda: len(records.read(path)) == 1, patience_s=30), process.communicate()[1]
        assert until(lambda: len(load_processes()) == 2 + (kind == "hping3"))
        started = [child.pid for child in psutil.Process(process.pid).children(recursive=True)]
        how(process)
        process.communicate(timeout=20)
    finally:
        process.kill()
    assert process.returncode != 0
    assert Counter(r["status"] for r in records.read(path)) == {"ok": 1}
    return started


def test_ctrl_c_leaves_the_finished_trials_and_nothing_else(tmp_path, models, project, nothing_left):
    # As a terminal does: to every process of the foreground job.
    started = stopped(tmp_path, models["binary"], project, lambda p: os.killpg(p.pid, signal.SIGINT), "hping3")
    assert leftovers() == []
    assert [pid for pid in started if alive(pid)] == []


@pytest.mark.parametrize("kind", generators.GENERATORS)
def test_after_kill_9_no_load_goes_on_and_a_rerun_does_what_is_missing(
    tmp_path, models, project, nothing_left, monkeypatch, kind
):
    started = stopped(tmp_path, models["binary"], project, lambda process: process.kill(), kind)
    assert len(started) >= 2
    assert until(lambda: not any(map(alive, started)), patience_s=1)
    assert leftovers() == ["ids-client", "ids-server"]
    monkeypatch.setattr(run, "SWEEP", tmp_path / "sweep.jsonl")
    rest = LONG if kind == "live_frames" else replace(LONG, intervals_us=(0,), rates_pps=())
    made = run_sweep(models["binary"], rest, ["rawsock1_nn_fused"])
    assert sorted(r["asked"]["repeat"] for r in made) == [1, 2, 3]
    assert {r["status"] for r in made} == {"ok"}


def spoiled(tmp_path, models, monkeypatch, spoil, methods, **changes) -> list[dict]:
    """The records of a sweep of two repeats, in whose first measured second something happens."""
    monkeypatch.setattr(run, "SWEEP", tmp_path / "sweep.jsonl")
    sleep, left = time.sleep, [spoil]

    def meanwhile(seconds):
        if seconds == LONG.trial_s and left:
            left.pop()()
        sleep(min(seconds, 0.3))

    monkeypatch.setattr(trial.time, "sleep", meanwhile)
    return run_sweep(models["binary"], replace(LONG, repeats=2, **changes), methods)


@pytest.mark.parametrize("victim", ["hping3", "rawsock", "afxdp", "load_agent"])
def test_a_trial_whose_sender_or_receiver_dies_is_recorded_as_failed_and_the_next_one_is_well(
    tmp_path, models, monkeypatch, nothing_left, victim
):
    def kill():
        for process in psutil.process_iter(["name", "cmdline"]):
            if process.info["name"].startswith(victim) or f"ids_repro.sweep.{victim}" in (
                process.info["cmdline"] or ()
            ):
                process.kill()

    changes = {"intervals_us": (0,), "rates_pps": ()} if victim == "hping3" else {}
    method = "afxdp_nn_fused" if victim == "afxdp" else "rawsock1_nn_fused"
    first, second = spoiled(tmp_path, models, monkeypatch, kill, [method], **changes)
    assert first["status"] == "failed"
    assert {"load_agent": "the generator on the client ended"}.get(victim, f"{victim} ended") in first["reason"]
    assert (second["status"], second["reason"]) == ("ok", "")


@pytest.mark.parametrize("side", ["client", "server"])
def test_a_link_that_goes_down_in_a_trial_is_named_and_the_next_one_is_well(
    tmp_path, models, monkeypatch, nothing_left, side
):
    def ip_link(state):
        subprocess.run(["ip", "-n", f"ids-{side}", "link", "set", "eth0", state], check=True)

    def down():
        ip_link("down")
        monkeypatch.setattr(run.records, "append", functools.partial(up, records.append))

    def up(append, *args, **kwargs):
        ip_link("up")
        return append(*args, **kwargs)

    first, second = spoiled(tmp_path, models, monkeypatch, down, ["xdp_drv_flow"])
    assert first["status"] == "failed"
    assert first["reason"] == f"eth0 of the {side} is set down"
    assert (second["status"], second["reason"]) == ("ok", "")


def altered(**changes):
    """A way to connect to a link that is not as it should be."""

    @contextlib.contextmanager
    def connect():
        with two_namespaces() as on:
            yield replace(on, **{name: change(on) for name, change in changes.items()})

    return connect


def test_without_native_xdp_only_its_trials_fail(tmp_path, models, monkeypatch, nothing_left):
    monkeypatch.setattr(run, "SWEEP", tmp_path / "sweep.jsonl")

    def bridged(on):
        """The server behind a bridge, whose driver has no native XDP."""
        made = "ip link add br0 type bridge; ip link set eth0 master br0; ip link set br0 up"
        subprocess.run(["ip", "netns", "exec", on.server.ns, "sh", "-ec", made], check=True)
        return replace(on.server, iface="br0")

    once = replace(LONG, repeats=1, trial_s=0.2, rates_pps=(20_000,))
    monkeypatch.setattr(run, "link", altered(server=bridged))
    made = run_sweep(models["binary"], once, "no_filter,xdp_drv_flow,afxdp_nn_fused")
    assert [r["status"] for r in made] == ["ok", "failed", "failed"]
    for record in made[1:]:
        assert record["reason"] == (
            "br0 does not take a xdp_drv program: its driver has no native XDP; xdp_skb works with every driver"
        )


def test_a_peer_that_does_not_answer_fails_each_trial_and_names_itself(tmp_path, models, monkeypatch, nothing_left):
    monkeypatch.setattr(run, "SWEEP", tmp_path / "sweep.jsonl")
    monkeypatch.setattr(run, "link", altered(target=lambda on: "10.77.0.9"))
    made = run_sweep(models["binary"], replace(LONG, repeats=1), "no_filter,tc_nn_fused")
    assert [r["status"] for r in made] == ["failed"] * 2
    assert {r["reason"] for r in made} == {"10.77.0.9 does not answer on eth0: is it up, and the address right?"}


def test_too_few_cpus_is_said_before_anything_starts(tmp_path, models, monkeypatch, nothing_left):
    monkeypatch.setattr(run, "SWEEP", tmp_path / "sweep.jsonl")
    monkeypatch.setattr(link.os, "sched_getaffinity", lambda _: {0})
    with pytest.raises(UserError, match="needs two CPUs"):
        run_sweep(models["binary"], SHORT)
    assert not SWEEP.exists()


def test_how_long_it_takes_is_said_before_it_starts(capsys, tmp_path, models, monkeypatch, nothing_left):
    monkeypatch.setattr(run, "SWEEP", tmp_path / "sweep.jsonl")
    assert duration_text(200, 0.3) == "2 minutes"
    assert duration_text(570, 100.0) == "15.9 hours"
    run_sweep(models["binary"], replace(SHORT, intervals_us=(), repeats=2), ["no_filter"])
    assert "sweep: up to 2 trials of 0.2 s, about 0 minutes" in capsys.readouterr().out
