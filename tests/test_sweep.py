"""A real sweep: every packet accounted for, every trial a record, resumable, and nothing left when it is stopped."""

import json
import os
import signal
import sys
import time
from collections import Counter
from dataclasses import replace

import psutil
import pytest
from conftest import alive, load_processes, until

from ids_repro import config, link, pipeline, records, sweep, testbed, traffic
from ids_repro.config import UserError

SHORT = config.profile("smoke", intervals_us=(10, 0), trial_s=0.3, repeats=1)
# One trial after another of a method whose receiver is a process of its own.
LONG = config.profile("smoke", intervals_us=(0,), trial_s=1.0, repeats=4)
SCRIPT = """
import sys
from pathlib import Path
from ids_repro import config, pipeline, sweep
sweep.SWEEP = Path(sys.argv[1])
model = pipeline.load("binary", 0, Path(sys.argv[2]))
sweep.run(model, config.profile("smoke", intervals_us=(0,), trial_s=1.0, repeats=4), ["rawsock1_nn"])
"""


@pytest.fixture(scope="module")
def swept(models, tmp_path_factory):
    """The records of a short sweep over all eight methods."""
    path = tmp_path_factory.mktemp("sweep") / "sweep.jsonl"
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sweep, "SWEEP", path)
        yield path, sweep.run(models["binary"], SHORT)


def test_every_method_and_interval_is_a_record(swept):
    path, made = swept
    asked = [(r["asked"]["method"], r["asked"]["interval_us"]) for r in made]
    assert asked == [(method, interval) for interval in (10, 0) for method in sweep.METHODS]
    assert [r["reason"] for r in made if r["status"] != "ok"] == []
    assert [r for r in records.read(path) if r["status"] == "ok"] == made


def test_sent_equals_received_plus_dropped(swept):
    for record in swept[1]:
        raw = record["raw"]
        assert raw["sent_packets"] == raw["received_packets"] + sum(raw["dropped_packets"].values())
        assert 0 < raw["received_packets"] <= raw["sent_packets"]
        assert SHORT.trial_s <= raw["duration_s"] < SHORT.trial_s + 0.2


def test_every_received_packet_was_classified(swept):
    for record in swept[1]:
        raw, method = record["raw"], sweep.METHODS[record["asked"]["method"]]
        assert sum(raw.get("verdicts", ())) == (raw["received_packets"] if method.classifier != "none" else 0)
        assert raw["workers"] == (os.cpu_count() if method.all_cpus else 1)


def test_cpu_shares_are_percent_of_the_servers_cpu(swept):
    for record in swept[1]:
        assert sum(record["raw"]["cpu_percent"].values()) == pytest.approx(100)
        assert min(record["raw"]["cpu_percent"].values()) >= 0
        assert record["raw"]["server_cpu"] == max(os.sched_getaffinity(0))


def test_flooding_sends_more_than_an_interval_does(swept):
    sent = {interval: [] for interval in (10, 0)}
    for record in swept[1]:
        sent[record["asked"]["interval_us"]].append(record["raw"]["sent_packets"])
    assert min(sent[0]) > max(sent[10])


def test_a_rerun_runs_nothing_and_one_lost_record_reruns_just_that(swept, models, nothing_left):
    path, made = swept
    before = path.read_text()
    assert sweep.run(models["binary"], SHORT) == []
    assert path.read_text() == before
    lost = next(r for r in made if r["asked"]["method"] == "no_filter")
    kept = [line for line in before.splitlines() if json.loads(line)["asked"] != lost["asked"]]
    path.write_text("".join(line + "\n" for line in kept))
    (again,) = sweep.run(models["binary"], SHORT)
    assert (again["asked"], again["status"]) == (lost["asked"], "ok")


def test_another_model_is_another_trial(swept, models):
    finished = records.done(swept[0], "sweep")
    tree = models["binary"].int_tree
    other = replace(models["binary"], int_tree=replace(tree, leaf=tree.leaf ^ 1))
    identity = swept[1][0]["provenance"]["identity"] | {"model_sha256": other.sha256()}
    assert all(records.key(asked, identity) not in finished for asked in sweep.plan(SHORT))


def test_methods_are_chosen_by_name():
    assert [a["method"] for a in sweep.plan(LONG, "tc_nn, no_filter")] == ["tc_nn", "no_filter"] * LONG.repeats
    with pytest.raises(UserError, match="there is no method 'xdp': use no_filter, "):
        sweep.plan(LONG, "no_filter,xdp")


def stopped(tmp_path, model, project, how) -> list[int]:
    """Stop a sweep in the middle of its second trial; returns the ids of the processes that it had started."""
    path = tmp_path / "sweep.jsonl"
    pipeline.save(model, tmp_path)
    process = project.popen(sys.executable, "-c", SCRIPT, path, tmp_path)
    try:
        assert until(lambda: len(records.read(path)) == 1, patience_s=30), process.communicate()[1]
        assert until(lambda: len(load_processes()) == 2)
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
    started = stopped(tmp_path, models["binary"], project, lambda process: os.killpg(process.pid, signal.SIGINT))
    assert testbed.leftovers() == []
    assert [pid for pid in started if alive(pid)] == []


def test_after_kill_9_no_load_goes_on_and_a_rerun_does_what_is_missing(
    tmp_path, models, project, nothing_left, monkeypatch
):
    started = stopped(tmp_path, models["binary"], project, lambda process: process.kill())
    assert len(started) >= 2
    assert until(lambda: not any(map(alive, started)), patience_s=1)
    assert testbed.leftovers() == ["ids-client", "ids-server"]
    monkeypatch.setattr(sweep, "SWEEP", tmp_path / "sweep.jsonl")
    made = sweep.run(models["binary"], LONG, ["rawsock1_nn"])
    assert sorted(r["asked"]["repeat"] for r in made) == [1, 2, 3]
    assert {r["status"] for r in made} == {"ok"}


def test_hping3_ends_itself_in_time_and_keeps_its_port_if_asked(nothing_left):
    with link.link() as on, traffic.hping3(on, 0, limit_s=0.3, one_flow=True) as process:
        assert until(lambda: load_processes() == ["hping3"])
        assert until(lambda: process.poll() is not None, patience_s=3)
        assert until(lambda: load_processes() == [], patience_s=1)


@pytest.mark.parametrize("victim", ["hping3", "rawsock"])
def test_a_trial_whose_sender_or_receiver_dies_is_recorded_as_failed(
    tmp_path, models, monkeypatch, nothing_left, victim
):
    monkeypatch.setattr(sweep, "SWEEP", tmp_path / "sweep.jsonl")
    sleep = time.sleep

    def kill_then_sleep(seconds):
        if seconds == LONG.trial_s:
            for process in psutil.process_iter(["name"]):
                if (process.info["name"] or "").startswith(victim):
                    process.kill()
        sleep(seconds)

    monkeypatch.setattr(sweep.time, "sleep", kill_then_sleep)
    (made,) = sweep.run(models["binary"], replace(LONG, repeats=1), ["rawsock1_nn"])
    assert made["status"] == "failed"
    assert victim in made["reason"]


@pytest.mark.parametrize("interval_us", [0, 1, 10])
def test_the_sender_stops_at_once_so_that_no_packet_is_sent_after_the_measured_time(interval_us, nothing_left):
    with link.link() as on:
        with traffic.hping3(on, interval_us, limit_s=20):
            start = on.counters()["sent"]
            assert until(lambda: on.counters()["sent"] > start + 1000)
            stopping = time.monotonic()
        assert time.monotonic() - stopping < 0.5
        time.sleep(on.drain_s)
        after = on.counters()
        time.sleep(0.1)
        assert on.counters() == after
