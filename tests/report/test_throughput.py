"""The table of throughput against made-up sweeps whose capacities are known."""

import math

import pandas as pd
import pytest
import synthetic

from ids_repro import records
from ids_repro.report import style, throughput
from ids_repro.report.exhibit import Results


@pytest.fixture(scope="module")
def results(tmp_path_factory):
    return Results(synthetic.everything(tmp_path_factory.mktemp("results")))


@pytest.fixture(scope="module")
def frame(results):
    return throughput.table(results)


def line(frame, method, generator="live_frames"):
    return frame.query("method == @method and generator == @generator").iloc[0]


def test_a_low_rate_keeps_its_digits():
    words = [style.kpps(rate) for rate in (4.3, 489, 9_999, 10_000, 1_681_400)]
    assert words == ["0.0043", "0.489", "10", "10", "1,681"]


def test_the_highest_rate_is_the_last_measured_one_below_the_capacity(frame):
    ours = line(frame, "xdp_drv_nn_fused")  # 380,000 pps
    assert (ours.highest_pps, ours.trials, ours.searches, ours.lost_in) == (300e3, 15, 3, 3)
    assert (ours.low_pps, ours.high_pps) == (300e3, 700e3)
    assert ours.resolution_percent == pytest.approx(100 * (7 / 3 - 1))
    assert ours.of_flow_percent == pytest.approx(100 * 300 / 700)
    assert line(frame, "xdp_drv_flow").of_flow_percent == 100
    block = throughput.blocks(frame)[0].frame.set_index("Method")["of Flow Extraction [%]"]
    assert ours.of_flow_low_percent == pytest.approx(100 * ours.low_pps / line(frame, "xdp_drv_flow").high_pps)
    assert block["XDP_DRV (NN fused)"] == "≈ 43 [33, 233]" and block["XDP_DRV (Flow Extraction)"] == "100"


def test_rates_that_differ_within_their_intervals_are_said_to_be_equal(tmp_path):
    synthetic.frames(tmp_path / "a.jsonl", capacities={"xdp_drv_flow": 800e3, "xdp_drv_dt": 805e3})
    block = throughput.blocks(throughput.table(Results(records.read(tmp_path))))[0].frame.set_index("Method")
    assert block.loc["XDP_DRV (DT)", "of Flow Extraction [%]"].startswith("≈ 100 [")
    assert set(block["Alike"]) == {"a"}


def test_methods_share_a_letter_if_and_only_if_their_brackets_overlap(frame):
    for _, part in frame[frame["searches"] > 0].groupby(["generator", "flows"]):
        for one in part.itertuples():
            for two in part.itertuples():
                overlap = one is two or (one.low_pps < two.high_pps and two.low_pps < one.high_pps)
                assert bool(set(one.alike) & set(two.alike)) == overlap
    assert set(line(frame, "no_filter").alike).isdisjoint(line(frame, "rawsock1_nn_fused").alike)


def test_the_letters_of_intervals():
    assert throughput.letters([1, 2, 5], [3, 6, 7]) == ["b", "ab", "a"]
    assert throughput.letters([1, 3, 3], [3, 4, math.inf]) == ["b", "a", "a"], "they touch"
    assert throughput.letters([0, 1, 2, 3], [9, 2, 3, 4]) == ["abc", "c", "b", "a"]
    assert throughput.letters([], []) == []


def test_the_caption_says_how_exactly_the_rates_are_known(results):
    text = throughput.caption(results)
    assert "1 s. 3 searches for each rate, whose brackets cover the median search with 75 %. At" in text
    assert "At 300 kpps a trial of 1 s knows a loss of 1 % within 0.28 points, if 64 packets are lost in a row." in text
    assert "RFC 2544" in throughput.NOTES and "at most 1 %" in throughput.NOTES


def test_a_fall_that_may_be_none_is_said_to_be_none(tmp_path):
    synthetic.frames(tmp_path / "a.jsonl", capacities={"no_filter": 800e3, "xdp_drv_dt": 799e3, "tc_nn_fused": 400e3})
    below = throughput.blocks(throughput.table(Results(records.read(tmp_path))))[0].frame.set_index("Method")
    below = below["below No Filter [%]"]
    assert below["XDP_DRV (DT)"].startswith("≈ ") and not below["TC (NN fused)"].startswith("≈")


def test_the_fall_below_no_filter_is_between_the_measured_rates_around_the_papers_limit(frame):
    ours = line(frame, "xdp_drv_nn_fused")
    assert ours.r_rx_pps == pytest.approx(0.99 * 380e3) and ours.limit_pps == pytest.approx(795.5e3)
    assert ours.fall_percent == pytest.approx(100 * (1 - 0.99 * 380 / 795.5))
    assert ours.fall_low_percent < ours.fall_percent < ours.fall_high_percent
    assert (ours.between_low_pps, ours.between_high_pps) == (700e3, 900e3)
    assert line(frame, "no_filter").fall_percent == 0


def test_nothing_is_extrapolated_and_generators_are_not_mixed(tmp_path):
    synthetic.frames(tmp_path / "a.jsonl", rates=(100e3, 700e3), capacities={"no_filter": 9e6, "tc_nn_fused": 400e3})
    synthetic.sweep(tmp_path / "a.jsonl", rates={0: 900e3}, capacities={"no_filter": 9e6, "tc_nn_fused": 400e3})
    frame = throughput.table(Results(records.read(tmp_path)))
    assert frame["fall_percent"].isna().all() and frame["r_rx_pps"].isna().all()
    assert line(frame, "tc_nn_fused").usr_percent == 0, "300,000 is between 100,000 and 700,000"
    assert math.isnan(line(frame, "tc_nn_fused", "hping3").usr_percent)


def test_a_rate_that_was_not_reached_is_at_least_and_compared_with_nothing(tmp_path):
    synthetic.frames(tmp_path / "a.jsonl", rates=(100e3, 200e3))
    frame = throughput.table(Results(records.read(tmp_path)))
    assert line(frame, "xdp_drv_flow").high_pps == math.inf
    block = throughput.blocks(frame)[0].frame.set_index("Method")
    assert block.loc["XDP_DRV (NN fused)", "Highest rate [kpps]"] == "≥ 200"
    assert block.loc["XDP_DRV (NN fused)", "of Flow Extraction [%]"] == ""
    assert block.loc["XDP_DRV (NN fused)", "below No Filter [%]"] == "–"


def test_rates_that_were_only_tried_have_no_brackets_and_are_ranked_against_nothing(tmp_path):
    """A churn rate, a replay and hping3 beside a sweep that is searched; two repeats of which the second is slower."""
    synthetic.frames(tmp_path / "a.jsonl", flows="one")
    some = {"no_filter": 9e6, "xdp_drv_flow": 448e3, "xdp_drv_dt": 400e3}
    synthetic.frames(tmp_path / "a.jsonl", repeats=2, capacities=some, rates=(450e3,))
    synthetic.sweep(tmp_path / "a.jsonl", rates={10: 20e3, 0: 200e3}, capacities=some | {"xdp_drv_dt": 201e3})
    synthetic.sweep(tmp_path / "a.jsonl", rates={10: 20e3, 0: 200e3}, capacities={"tc_nn_fused": 30e3})
    frame = throughput.table(Results(records.read(tmp_path)))
    tried = frame[(frame["flows"] == "new")]
    assert set(tried["searches"]) == {0} and set(tried["alike"]) == {""}
    unknown = ["low_pps", "high_pps", "resolution_percent", *throughput.OF_FLOW]
    assert tried[unknown].isna().all(axis=None) and frame.drop(tried.index)["low_pps"].notna().all()
    parts = {block.title: block.frame.set_index("Method") for block in throughput.blocks(frame)}
    churn = parts["Sent by live frames, a new flow per packet, no search"]
    assert [*churn][:2] == ["Fastest tried that held [kpps]", "Trials that held, at R_TX [kpps]"]
    assert churn.iloc[:, :2].to_numpy().tolist() == [
        ["≥ 450", "2 of 2 at 450"],
        ["< 450", "1 of 2 at 450"],
        ["< 450", "0 of 2 at 450"],
    ]
    hping3 = parts["Sent by hping3, a new flow per packet, no search"].iloc[:, :2].T.to_dict("list")
    assert hping3 == {
        "No Filter": ["≥ 200", "2 of 2 at 20, 2 of 2 at 200"],
        "XDP_DRV (Flow Extraction)": ["≥ 200", "2 of 2 at 20, 2 of 2 at 200"],
        "XDP_DRV (DT)": ["≥ 200", "2 of 2 at 20, 2 of 2 at 200"],
        "TC (NN fused)": ["20", "2 of 2 at 20, 0 of 2 at 200"],
    }
    assert "Alike" in parts["Sent by live frames, one flow"]


def test_a_method_that_half_of_the_searches_did_not_find_holding_is_below_the_least_rate_that_lost(tmp_path):
    """Two searches: one holds nothing, one loses nothing. No rate between 0 and the other's is made up."""
    synthetic.frames(tmp_path / "a.jsonl", repeats=1, capacities={"xdp_drv_dt": 90e3}, rates=(110e3, 220e3))
    rows = records.read(tmp_path)
    synthetic.frames(tmp_path / "b.jsonl", repeats=1, capacities={"xdp_drv_dt": 9e6}, rates=(110e3, 220e3))
    rows += [row | {"asked": row["asked"] | {"repeat": 1}} for row in records.read(tmp_path / "b.jsonl")]
    (line,) = throughput.table(Results(rows)).itertuples()
    assert (line.highest_pps, line.low_pps, line.high_pps, line.searches) == (0, 0, math.inf, 2)
    assert throughput.rate(line) == "< 110" and line.least_lost_pps == 110e3


def test_the_fall_below_no_filter_has_the_spread_of_both(tmp_path):
    """No Filter loses too, and its repeats differ by 20 %, those of the method by 10 %."""
    for repeat, (limit, ours) in enumerate(((500e3, 360e3), (600e3, 400e3))):
        one = tmp_path / f"{repeat}.jsonl"
        synthetic.frames(one, repeats=1, capacities={"no_filter": limit, "xdp_drv_dt": ours}, rates=(710e3, 910e3))
    rows = [
        row | {"asked": row["asked"] | {"repeat": repeat}}
        for repeat in (0, 1)
        for row in records.read(tmp_path / f"{repeat}.jsonl")
    ]
    ours = line(throughput.table(Results(rows)), "xdp_drv_dt")
    assert ours.fall_percent == pytest.approx(100 * (1 - 380 / 550))
    assert ours.fall_low_percent == pytest.approx(100 * (1 - 400 / 500))
    assert ours.fall_high_percent == pytest.approx(100 * (1 - 360 / 600))


def test_it_is_read_by_generator_in_the_papers_order(results, frame):
    (title, block), (other, _) = throughput.blocks(frame)
    assert title == "Sent by live frames, a new flow per packet" and other.startswith("Sent by hping3")
    assert list(block["Method"][:3]) == ["No Filter", "XDP_DRV (Flow Extraction)", "XDP_DRV (NN fused)"]
    order = [look.label.format(n=8) for look in style.METHODS.values()]
    assert list(block["Method"]) == [name for name in order if name in set(block["Method"])]
    assert block["Method"].str.contains("8-core").any()
    assert "Server held to one CPU: napi thread on cpu 1." in throughput.caption(results)


def test_trials_of_different_length_are_apart(results, frame, tmp_path):
    """Longer trials of two methods, with other capacities, change no line of the shorter ones."""
    longer = {"no_filter": 600e3, "xdp_drv_nn_fused": 200e3}
    synthetic.frames(tmp_path / "sweep.jsonl", repeats=2, capacities=longer, trial_s=5.0)
    both = throughput.table(Results([*results.rows, *records.read(tmp_path)]))
    pd.testing.assert_frame_equal(both[both["trial_s"] == 1].reset_index(drop=True), frame)
    long = both[both["trial_s"] == 5].set_index("method")
    assert list(long.index) == list(longer) and (long["trials"] == 10).all()
    assert long.loc["xdp_drv_nn_fused", "highest_pps"] == 100e3
    assert long.loc["xdp_drv_nn_fused", "limit_pps"] == pytest.approx(597e3), "No Filter's of the same length"
    titles = [block.title for block in throughput.blocks(both)]
    assert titles == [f"Sent by {who}, a new flow per packet, trials of {end}" for who, end in LENGTHS]
    assert "Trials of 1, 5 s." in throughput.caption(Results([*results.rows, *records.read(tmp_path)]))


@pytest.mark.parametrize("differences", [0, 3])
def test_a_replay_says_in_how_many_verdicts_it_is_unlike_user_space(results, frame, tmp_path, differences):
    some = {"xdp_drv_nn_fused": 800e3, "tc_nn_fused": 50e3}
    synthetic.frames(tmp_path / "a.jsonl", capacities=some, flows="replay", differences=differences)
    both = Results([*results.rows, *records.read(tmp_path)])
    title, block = throughput.blocks(throughput.table(both))[1]
    assert title == "Sent by live frames, a capture replayed"
    cells = block.set_index("Method")["Verdicts unlike user space's"]
    n = 3 * (100_000 + 300_000 + 700_000)  # at 900,000 and 3,000,000 packets/s some are lost
    assert cells.to_dict() == {"XDP_DRV (NN fused)": f"{3 * 3 * differences} of {n:,}", "TC (NN fused)": "–"}
    assert "takes the time of each from its frame" in throughput.caption(both)
    assert "from its frame" not in throughput.caption(results)
    assert not any("Verdicts unlike user space's" in block.frame for block in throughput.blocks(frame))


LENGTHS = (("live frames", "1 s"), ("live frames", "5 s"), ("hping3", "1 s, no search"))


def test_files_hold_the_same_numbers(results, frame, tmp_path):
    throughput.exhibit(results).write(tmp_path)
    shown = frame.replace({"": math.nan})  # no text
    pd.testing.assert_frame_equal(pd.read_csv(tmp_path / "throughput.csv"), shown, check_dtype=False)
    text = (tmp_path / "throughput.md").read_text(encoding="utf-8")
    assert (
        "| XDP_DRV (NN fused) | 300 [300, 700] | b | ≈ 43 [33, 233] | 3 (15) | 133 |" in text and "sweep.jsonl" in text
    )


def test_without_records_it_says_which_notebook_to_run():
    text = throughput.exhibit(Results([])).markdown()
    assert text == f"Throughput by method: no records yet: run notebook 05.\n\n{throughput.NOTES}\n"
