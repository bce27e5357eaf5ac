"""Where packets are lost, against made-up sweeps."""

import pytest
import synthetic

from ids_repro import config, records
from ids_repro.report import losses
from ids_repro.report.exhibit import Results


def test_a_bar_is_the_point_with_the_highest_rate_and_the_places_of_a_packet_are_all_of_it(tmp_path):
    synthetic.frames(tmp_path / "a.jsonl", rates=(100e3, 800e3), capacities={"no_filter": 9e6, "tc_nn_fused": 400e3})
    frame = losses.table(Results(records.read(tmp_path))).set_index("method")
    assert frame.loc["no_filter", ["received", "link"]].tolist() == [100, 0]
    assert frame.loc["tc_nn_fused", "r_tx_pps"] == pytest.approx(800e3, rel=0.02)
    assert frame.loc["tc_nn_fused", "link"] == pytest.approx(50, abs=1)
    shares = frame[list(losses.PLACES)]
    assert shares.sum(axis=1).tolist() == pytest.approx([100, 100])
    assert frame["ring"].isna().all()
    assert frame["trials"].tolist() == [3, 3]


def test_trials_of_another_length_and_of_hping3_are_not_pooled(tmp_path):
    synthetic.sweep(tmp_path / "a.jsonl", rates={0: 2e6}, capacities={"no_filter": 9e6})
    synthetic.frames(tmp_path / "a.jsonl", rates=(1e6,), capacities={"no_filter": 9e6})
    synthetic.frames(tmp_path / "a.jsonl", rates=(5e6,), capacities={"no_filter": 9e6}, repeats=1, trial_s=0.2)
    (line,) = losses.table(Results(records.read(tmp_path))).itertuples()
    assert (line.generator, line.trial_s, line.trials) == ("hping3", 1.0, 2)
    assert line.r_tx_pps == pytest.approx(2e6, rel=0.02)


def test_it_says_that_loads_differ_and_that_what_the_link_loses_is_not_free(tmp_path):
    synthetic.frames(tmp_path / "a.jsonl", capacities={"tc_nn_fused": 400e3})
    made = losses.exhibit(Results(records.read(tmp_path)))
    assert "not of the same load" in made.caption and "R_TX [kpps]" in made.blocks[0].frame
    assert "not free" in made.notes and "cost the server nothing" not in made.notes
    section = " ".join((config.BPF / "README.md").read_text().split("\n## ")[-1].split())
    assert "4.10 million packets/s of 5 million and 3.86 of" in section and round(100 * (1 - 3.86 / 4.10)) == 6
    assert "6 % less" in made.notes and "page pool" in section


def test_without_records_it_says_what_to_run():
    made = losses.exhibit(Results([]))
    assert "run notebook 05" in made.markdown() and not made.has_records
