"""Points of a sweep against made-up trials: one a trial, medians over repeats, values between measured rates."""

import numpy as np
import pandas as pd
import pytest
import synthetic

from ids_repro import config, records
from ids_repro.report.exhibit import Results
from ids_repro.report.sweep_points import CPU, LINE, all_trials, at_rate, medians, trial_points


def test_between_two_measured_rates_is_a_straight_line_and_outside_nothing():
    part = pd.DataFrame({"r_tx_pps": [900e3, 700e3], "r_rx_pps": [500e3, 600e3], "usr": [40.0, 20.0]})
    part = part.assign(r_rx_min_pps=400e3, r_rx_max_pps=700e3, sys=0.0, soft=0.0, idle=60.0, steal=0.0)
    part = part.assign(busy=part["usr"], busy_min=10.0, busy_max=50.0, trials=3)
    found = at_rate(part, 800e3)
    assert (found["r_rx_pps"], found["usr"], found["below_pps"], found["above_pps"]) == (550e3, 30, 700e3, 900e3)
    assert at_rate(part, 700e3)["r_rx_pps"] == 600e3
    assert at_rate(part, 699e3).isna().all() and at_rate(part, 901e3).isna().all()
    assert at_rate(part[:0], 800e3).isna().all()


def test_a_value_over_repeats_lies_between_rates_that_all_repeats_have(tmp_path):
    """A search's single trial at 750,000 packets/s, in which nearly all was lost, changes no value at 800,000."""
    synthetic.frames(tmp_path / "a.jsonl", capacities={"tc_nn_fused": 600e3})
    before = medians(Results(records.read(tmp_path)))
    synthetic.frames(tmp_path / "a.jsonl", capacities={"tc_nn_fused": 90e3}, rates=(750e3,), repeats=1)
    after = medians(Results(records.read(tmp_path)))
    assert len(after) == len(before) + 1 and sorted(after["trials"]) == [1, *[3] * len(before)]
    pd.testing.assert_series_equal(at_rate(after, 800e3), at_rate(before, 800e3))
    assert at_rate(after, 800e3)[["below_pps", "above_pps"]].tolist() == [700e3, 900e3]
    alone = after[after["trials"] == 1]
    assert at_rate(alone, 750e3)["r_rx_pps"] == 90e3, "with one repeat, one trial is all of them"


def test_a_rate_that_the_profile_does_not_name_is_a_searchs(tmp_path):
    named = config.PROFILES["smoke"]
    rates = (*named.rates_pps, *named.churn_pps, *named.replay_pps, 237e3)
    synthetic.frames(tmp_path / "a.jsonl", capacities={"tc_nn_fused": 600e3}, rates=dict.fromkeys(rates))
    synthetic.sweep(tmp_path / "a.jsonl", capacities={"tc_nn_fused": 600e3})
    rows = records.read(tmp_path)
    trials = trial_points(Results(rows))
    assert trials[trials["of_search"]]["rate_pps"].tolist() == [237e3] * 3
    own = [row | {"asked": row["asked"] | {"chosen": True}} for row in rows]
    assert not trial_points(Results(own))["of_search"].any(), "the user chose it"
    nameless = [row | {"provenance": row["provenance"] | {"identity": {}}} for row in rows]
    assert not trial_points(Results(nameless))["of_search"].any()
    example = trial_points(Results(records.read(config.DATA / "example")))
    searched = example.groupby(["generator", "flows"])["of_search"].any()
    assert searched.index[searched].tolist() == [("live_frames", "one")]
    assert set(example[example["of_search"]]["repeat"]) == set(range(config.PROFILES["evening"].repeats))


@pytest.fixture
def sweep(tmp_path):
    synthetic.sweep(tmp_path / "sweep.jsonl")
    return Results(records.read(tmp_path))


def test_points_are_rates_of_each_trial(sweep):
    trials = trial_points(sweep)
    assert len(trials) == len(sweep.rows)
    first = trials.iloc[0]
    assert (first.r_tx_pps, first.r_rx_pps) == (90e3, 90e3)
    np.testing.assert_allclose(trials[list(CPU)].sum(axis=1), 100)
    assert set(trials["flows"]) == {"new"}, "hping3's own way, of records that do not say"


def test_of_every_trial_the_packets_add_up_and_a_failed_one_is_there_too(sweep):
    failed = sweep.rows[0] | {"status": "failed", "raw": {}}
    lines = all_trials(Results([*sweep.rows, failed]))
    assert lines["status"].tolist() == ["ok"] * len(sweep.rows) + ["failed"]
    assert (lines["sent"] - lines["received"] - lines["dropped"])[:-1].eq(0).all() and (lines["sent"][:-1] > 0).all()
    assert lines.iloc[-1][["sent", "received", "dropped"]].isna().all()


def test_medians_are_over_repeats_and_rise_with_the_rate(sweep):
    middle = medians(sweep)
    assert len(middle) == len(sweep.rows) / 2
    part = middle[middle["method"] == "no_filter"]
    assert part["r_tx_pps"].is_monotonic_increasing
    assert part["r_rx_pps"].iloc[0] == 90_450 and part["r_rx_max_pps"].iloc[0] == 90_900


def test_a_line_is_a_method_a_generator_and_a_kind_of_flows(tmp_path):
    synthetic.sweep(tmp_path / "a.jsonl")
    for flows in ("new", "one"):
        synthetic.frames(tmp_path / "a.jsonl", flows=flows)
    middle = medians(Results(records.read(tmp_path)))
    sizes = middle.groupby(list(LINE)).size()
    assert len(sizes) == 3 * len(synthetic.CAPACITIES_PPS)
    assert set(sizes["no_filter"]) == {len(synthetic.RATES_PPS)} == {len(synthetic.FRAMES_PPS)}
    line = middle[(middle["method"] == "xdp_drv_nn_fused") & (middle["rate_pps"] == 700e3)].iloc[0]
    capacity = synthetic.CAPACITIES_PPS["xdp_drv_nn_fused"]
    assert (line.r_rx_min_pps, line.r_rx_pps, line.r_rx_max_pps) == pytest.approx(
        (0.98 * capacity, 0.99 * capacity, capacity)
    )
