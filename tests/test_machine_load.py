"""What other programs and the hypervisor take while something is measured is recorded, told and given as a reason."""

import subprocess
import sys
import time

import pytest
import synthetic

from ids_repro import machine_load, records
from ids_repro.config import DATA
from ids_repro.report import claims, throughput
from ids_repro.report.exhibit import Results
from ids_repro.report.verdicts import DIFFERS

QUIET = {"load": 0.1, "others_before_percent": 1.0, "steal_before_percent": 0.0}
QUIET |= {"others_percent": 2.0, "steal_percent": 0.1}
BUSY = {"others": QUIET | {"others_percent": 95.0}, "steal": QUIET | {"steal_before_percent": 8.0}}
BURN = "import time\nend = time.time() + 1.5\nwhile time.time() < end: pass"


def taken_by(command):
    """Return the user time that others took beside a command, in % of a CPU, and what it took itself."""
    start = machine_load.sample()
    subprocess.run(command, check=True)
    end = machine_load.sample()
    found = machine_load._between(start, end)["others"]
    return found, 100 * (end.own_s - start.own_s) / (end.clock_s - start.clock_s)


def test_what_our_children_use_is_ours_and_what_a_stranger_uses_is_not():
    others, ours = taken_by([sys.executable, "-c", BURN])
    assert ours > 1 and others >= 0  # the machine that tests run on may be busy
    # A process whose parent ends at once belongs to nobody here.
    stranger = f"import subprocess, sys\nsubprocess.Popen([sys.executable, '-c', {BURN!r}])"
    subprocess.run([sys.executable, "-c", stranger], check=True)
    start = machine_load.sample()
    time.sleep(1.0)
    end = machine_load.sample()
    assert end.own_s - start.own_s < 0.2 * (end.clock_s - start.clock_s)
    assert machine_load._between(start, end)["others"] > 1


def test_a_trial_records_the_load_before_it_and_in_it(tmp_path):
    started = records.now()
    record = records.append(tmp_path / "a.jsonl", "flows", *flows(), started=started)
    assert set(record["provenance"]["load"]) == set(QUIET)
    assert records.read(tmp_path / "a.jsonl") == [record]
    assert "load" not in records.append(tmp_path / "a.jsonl", "flows", *flows())["provenance"]


def flows():
    return {"dataset": "x", "labels": "y", "flow_rules": "text"}, {"flows_by_class": {"DoS": 1}}


def slow(load, folder):
    """Return records of a sweep on a machine that is too slow, made under this load."""
    synthetic.frames(folder / "a.jsonl", capacities={"no_filter": 900e3, "xdp_drv_nn_fused": 150e3})
    rows = records.read(folder)
    return [row | {"provenance": row["provenance"] | ({"load": load} if load else {})} for row in rows]


@pytest.mark.parametrize("who", BUSY)
def test_a_claim_that_differs_on_a_busy_machine_says_so_first(who, tmp_path):
    line = claims.table(Results(slow(BUSY[who], tmp_path))).set_index("id").loc["no_loss_pps.xdp_drv_nn_fused"]
    assert line["verdict"] == DIFFERS and line["reason"].startswith("the machine was busy, measure again (other ")
    assert "MACHINE BUSY in 15 of 15 trials" in line["reason"]
    caption = throughput.caption(Results(slow(BUSY[who], tmp_path / "again")))
    assert "Load: other programs took " in caption and "MACHINE BUSY in 30 of 30 trials" in caption


@pytest.mark.parametrize("load", [QUIET, None])
def test_on_a_quiet_or_an_unknown_machine_nothing_is_said_of_it(load, tmp_path):
    rows = slow(load, tmp_path)
    line = claims.table(Results(rows)).set_index("id").loc["no_loss_pps.xdp_drv_nn_fused"]
    assert line["verdict"] == DIFFERS and "busy" not in line["reason"]
    assert ("other programs took 2.0 % of a CPU; hypervisor took 0.1 %" in throughput.caption(Results(rows))) == bool(
        load
    )


def test_one_disturbed_trial_of_many_does_not_make_a_busy_machine():
    rows = [{"kind": "inference", "raw": {}, "provenance": {"load": load}} for load in [BUSY["others"], *[QUIET] * 4]]
    assert not machine_load.was_busy(rows) and machine_load.was_busy(rows[:4])
    assert machine_load.in_words(rows) == ("other programs took 2.0 % of a CPU, at most 95.0; hypervisor took 0.1 %")


def test_counts_are_what_they_are_on_a_busy_machine_too():
    rows = [{"kind": kind, "raw": {}, "provenance": {"load": BUSY["others"]}} for kind in ("accuracy", "calibration")]
    assert not machine_load.was_busy(rows) and machine_load.in_words(rows) == ""
    assert machine_load.was_busy([*rows * 9, {**rows[0], "kind": "inference"}])


def test_a_warning_is_printed_only_on_a_busy_machine(capsys):
    machine_load.say_if_busy([{"kind": "inference", "raw": {}, "provenance": {"load": QUIET}}])
    assert capsys.readouterr().out == ""
    machine_load.say_if_busy([{"kind": "inference", "raw": {}, "provenance": {"load": BUSY["steal"]}}])
    assert capsys.readouterr().out.startswith("warning: other programs took ")


def test_of_older_records_of_the_sweep_the_steal_is_known():
    rows = [record for record in records.read(DATA / "example") if record["kind"] == "sweep"]
    for record in rows:
        del record["provenance"]["load"]  # which they did not have
    assert machine_load.in_words(rows).startswith("hypervisor took ")
