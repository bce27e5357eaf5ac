"""A sweep accounts for every packet, records every trial, resumes, and leaves nothing behind when it is stopped.

Covers also: ids_repro.sweep.trial, whose numbers are checked here in the records of a sweep over all methods.
"""

import contextlib
import json
import os
import re
import signal
import subprocess
import sys
from collections import Counter
from dataclasses import replace
from functools import partial

import psutil
import pytest
from machine_state import alive, load_processes, until

from ids_repro import config, records
from ids_repro.config import UserError
from ids_repro.models.model_file import save_model
from ids_repro.network.namespaces import leftovers
from ids_repro.sweep.generators import GENERATORS
from ids_repro.sweep.link_netns import two_namespaces
from ids_repro.sweep.methods import METHODS
from ids_repro.sweep.plan import most_steps, next_rate, plan_trials
from ids_repro.sweep.run import run_sweep

pytestmark = [pytest.mark.root, pytest.mark.quiet, pytest.mark.bpf]
SHORT = config.profile(
    "smoke",
    intervals_us=(0,),
    rates_pps=(10_000_000,),
    churn_pps=(),
    replay_pps=(),
    trial_s=0.2,
    repeats=1,
    resolution=0,
)
# Several trials, long enough to be stopped in the middle.
LONG = replace(SHORT, intervals_us=(), rates_pps=(50_000,), trial_s=1.0, repeats=4)
SCRIPT = """
import sys
from dataclasses import replace
from pathlib import Path
from ids_repro import config
from ids_repro.models.model_file import load_model
from ids_repro.sweep.run import run_sweep
folder, generator = Path(sys.argv[1]), sys.argv[2]
profile = config.profile("smoke", churn_pps=(), replay_pps=(), trial_s=1.0, repeats=4, resolution=0)
hping3 = generator == "hping3"
profile = replace(profile, intervals_us=(0,) if hping3 else (), rates_pps=() if hping3 else (50_000,))
run_sweep(load_model("binary", 0, folder), profile, ["rawsock1_nn_fused"], results=folder)
"""


@pytest.fixture(scope="module")
def swept(models, detector, tmp_path_factory):
    """The file of records of a short sweep over all methods, and what the sweep returned."""
    folder = tmp_path_factory.mktemp("sweep")
    made = run_sweep(models["binary"], SHORT, list(METHODS), results=folder, detector=detector)
    return folder / "sweep.jsonl", made


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
        assert SHORT.trial_s <= raw["duration_s"] < SHORT.trial_s + 10  # a busy machine may be late


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


def test_the_work_of_a_napi_thread_is_softirq_work(swept):
    (record,) = (r for r in swept[1] if r["asked"]["rate_pps"] and r["asked"]["method"] == "xdp_drv_nn_fused")
    cpu = record["raw"]["cpu_percent"]
    assert cpu["soft"] > 50 > cpu["sys"]


def test_the_record_says_how_the_server_was_held(swept):
    for record in swept[1]:
        assert re.fullmatch(rf"NAPI thread \d+ on CPU {max(os.sched_getaffinity(0))}", record["raw"]["held"])


def test_at_more_than_a_method_takes_packets_are_lost_and_counted(swept):
    for record in (r for r in swept[1] if r["asked"]["rate_pps"] == 10_000_000):
        raw = record["raw"]
        assert raw["sent_packets"] / raw["duration_s"] > 500_000
        assert sum(raw["dropped_packets"].values()) > 0
        if record["asked"]["method"] not in (
            "xdp_drv_flow",
            "xdp_drv_dt",
            "xdp_drv_dt_deep",
        ):  # which take nearly all that is sent
            assert sum(raw["dropped_packets"].values()) > raw["sent_packets"] / 10


def test_a_rerun_runs_nothing_and_one_lost_record_reruns_just_that(swept, models, nothing_left):
    path, made = swept
    before = path.read_text()
    assert run_sweep(models["binary"], SHORT, results=path.parent) == []
    assert path.read_text() == before
    lost = next(r for r in made if r["asked"]["method"] == "no_filter")
    kept = [line for line in before.splitlines() if json.loads(line)["asked"] != lost["asked"]]
    path.write_text("".join(line + "\n" for line in kept))
    (again,) = run_sweep(models["binary"], SHORT, results=path.parent)
    assert (again["asked"], again["status"]) == (lost["asked"], "ok")


def test_a_trial_of_other_code_or_of_another_kernel_runs_again_and_so_does_any_if_asked_to(tmp_path, models):
    profile, methods = replace(SHORT, intervals_us=()), ["no_filter"]
    (first,) = run_sweep(models["binary"], profile, methods, results=tmp_path)
    path = tmp_path / "sweep.jsonl"
    stored = path.read_text()
    for name in ("code_sha256", "kernel"):
        value = first["provenance"]["identity"][name]
        path.write_text(stored.replace(json.dumps(value), '"other"'))
        (again,) = run_sweep(models["binary"], profile, methods, results=tmp_path)
        assert again["asked"] == first["asked"]
    assert run_sweep(models["binary"], profile, methods, results=tmp_path) == []
    (again,) = run_sweep(models["binary"], profile, methods, results=tmp_path, again=True)
    assert again["asked"] == first["asked"] and again["provenance"]["identity"] == first["provenance"]["identity"]


def test_another_model_is_another_trial(swept, models):
    finished = records.done(swept[0], "sweep")
    tree = models["binary"].twins["dt"]
    other = replace(
        models["binary"], twins=models["binary"].twins | {"dt": replace(tree, threshold=tree.threshold + 1)}
    )
    identity = swept[1][0]["provenance"]["identity"] | {"model_sha256": other.sha256()}
    assert all(records.key(asked, identity) not in finished for asked in plan_trials(SHORT))


def test_the_highest_rate_is_searched_once_in_each_repeat_and_an_interrupted_search_goes_on(
    tmp_path, models, nothing_left
):
    profile = replace(SHORT, intervals_us=(), rates_pps=(20_000, 10_000_000), repeats=2, resolution=0.6)
    made = run_sweep(models["binary"], profile, ["no_filter"], results=tmp_path)
    assert [r["asked"]["rate_pps"] for r in made[:4]] == [20_000, 10_000_000] * 2
    assert [r["asked"]["repeat"] for r in made[4:6]] == [0, 1], "the searches take turns"
    assert {r["status"] for r in made} == {"ok"}

    def following(records: list[dict], repeat: int) -> int | None:
        return next_rate([r for r in records if r["asked"]["repeat"] == repeat], profile.resolution)

    for at, record in enumerate(made[4:], 4):
        assert record["asked"]["rate_pps"] == following(made[:at], record["asked"]["repeat"])
    steps = Counter(r["asked"]["repeat"] for r in made[4:])
    for repeat in range(2):
        assert following(made, repeat) is None or steps[repeat] == most_steps(profile)
    assert 2 < len(made[4:]) <= 2 * most_steps(profile)
    assert run_sweep(models["binary"], profile, ["no_filter"], results=tmp_path) == []
    lines = (tmp_path / "sweep.jsonl").read_text().splitlines(keepends=True)
    (tmp_path / "sweep.jsonl").write_text("".join(lines[:7]))
    again = run_sweep(models["binary"], profile, ["no_filter"], results=tmp_path)
    assert again[0]["asked"]["rate_pps"] == following(made[:7], again[0]["asked"]["repeat"])


def stopped(tmp_path, model, project, how, kind) -> list[int]:
    """Stop a sweep in the middle of its second trial and return the ids of the processes that it had started."""
    path = tmp_path / "sweep.jsonl"
    save_model(model, tmp_path)
    process = project.popen(sys.executable, "-c", SCRIPT, tmp_path, kind)
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
    # A terminal sends Ctrl-C to every process of the foreground job.
    started = stopped(tmp_path, models["binary"], project, lambda p: os.killpg(p.pid, signal.SIGINT), "hping3")
    assert leftovers() == []
    assert [pid for pid in started if alive(pid)] == []


@pytest.mark.parametrize("kind", GENERATORS)
def test_after_kill_9_no_load_goes_on_and_a_rerun_does_what_is_missing(tmp_path, models, project, nothing_left, kind):
    started = stopped(tmp_path, models["binary"], project, lambda process: process.kill(), kind)
    assert len(started) >= 2
    assert until(lambda: not any(map(alive, started)))  # a generator that nobody stops runs for longer
    assert until(lambda: leftovers() == [])  # a process that watched the sweep removed its network
    rest = LONG if kind == "live_frames" else replace(LONG, intervals_us=(0,), rates_pps=())
    made = run_sweep(models["binary"], rest, ["rawsock1_nn_fused"], results=tmp_path)
    assert sorted(r["asked"]["repeat"] for r in made) == [1, 2, 3]
    assert {r["status"] for r in made} == {"ok"}


def test_what_another_sweep_did_while_one_waited_for_the_link_is_not_done_again(tmp_path, models, nothing_left):
    once = replace(SHORT, intervals_us=())
    others = []

    @contextlib.contextmanager
    def after_another():
        others.extend(run_sweep(models["binary"], once, ["no_filter"], results=tmp_path))
        with two_namespaces() as on:
            yield on

    made = run_sweep(models["binary"], once, "no_filter,rawsock1_nn_fused", results=tmp_path, open_link=after_another)
    assert [one["asked"]["method"] for one in (*others, *made)] == ["no_filter", "rawsock1_nn_fused"]


def altered(**changes):
    """Return a way to open a link that is not as it should be."""

    @contextlib.contextmanager
    def open_link():
        with two_namespaces() as on:
            yield replace(on, **{name: change(on) for name, change in changes.items()})

    return open_link


def bridged(on):
    """Put the server behind a bridge, whose driver has no native XDP."""
    made = "ip link add br0 type bridge; ip link set eth0 master br0; ip link set br0 up"
    subprocess.run(["ip", "netns", "exec", on.server.ns, "sh", "-ec", made], check=True)
    return replace(on.server, iface="br0")


def test_without_native_xdp_only_its_trials_fail(tmp_path, models, nothing_left):
    once = replace(LONG, repeats=1, trial_s=0.2, rates_pps=(20_000,))
    how = {"results": tmp_path, "open_link": altered(server=bridged)}
    made = run_sweep(models["binary"], once, "no_filter,xdp_drv_flow,afxdp_nn_fused", **how)
    assert [r["status"] for r in made] == ["ok", "failed", "failed"]
    for record in made[1:]:
        assert record["reason"] == (
            "br0 does not take a xdp-drv program: its driver has no native XDP; --hook xdp-skb works with every driver"
        )


def test_a_peer_that_does_not_answer_fails_each_trial_and_names_itself(tmp_path, models, nothing_left):
    how = {"results": tmp_path, "open_link": altered(target=lambda on: "10.77.0.9")}
    made = run_sweep(models["binary"], replace(LONG, repeats=1), "no_filter,tc_nn_fused", **how)
    assert [r["status"] for r in made] == ["failed"] * 2
    assert {r["reason"] for r in made} == {"10.77.0.9 does not answer on eth0: is it up, and the address right?"}


def test_too_few_cpus_is_said_before_anything_starts(tmp_path, models, nothing_left):
    with pytest.raises(UserError, match="needs two CPUs"):
        run_sweep(models["binary"], SHORT, results=tmp_path, open_link=partial(two_namespaces, cpus=[0]))
    assert not (tmp_path / "sweep.jsonl").exists()


def test_how_long_it_takes_is_said_before_it_starts(capsys, tmp_path, models, nothing_left):
    run_sweep(models["binary"], replace(SHORT, intervals_us=(), repeats=2), ["no_filter"], results=tmp_path)
    assert "sweep: up to 2 trials of 0.2 s, about 1 second" in capsys.readouterr().out
