"""Tables II and III against the records they are made of."""

import re

import numpy as np
import pandas as pd
import pytest
import synthetic

from ids_repro import config, metrics, records
from ids_repro.report import classification
from ids_repro.report.exhibit import Results


@pytest.fixture(scope="module")
def results(tmp_path_factory):
    return Results(synthetic.everything(tmp_path_factory.mktemp("results")))


def cell(frame, **where):
    for column, value in where.items():
        frame = frame[frame[column] == value]
    assert len(frame) == 1
    return frame.iloc[0]


def test_scores_are_means_over_seeds_with_their_interval(results):
    confusions = [
        record["raw"]["confusion"]
        for record in results.rows
        if record["kind"] == "accuracy" and (record["asked"]["task"], record["asked"]["row"]) == ("binary", "dt_c")
    ]
    expected = metrics.mean_interval([metrics.per_class(confusion)["recall"][1] for confusion in confusions])
    line = cell(classification.table(results, "binary"), row="dt_c", metric="recall")
    assert (line.ours, line.ours_low, line.ours_high, line.n) == pytest.approx(expected)
    assert (line.label, line.paper, line.unit, line.dataset) == ("Attack", 0.964, "1", "lab capture")
    assert line.difference == pytest.approx(line.ours - 0.964)


def test_times_are_medians_in_microseconds_of_the_papers_way_of_calling(results):
    frame = classification.table(results, "multi")
    line = cell(frame, row="nn_q16_c", metric="inference_us")
    assert (line.ours, line.ours_low, line.ours_high, line.n) == pytest.approx((0.3, 0.3, 0.33, 5))
    assert (line.paper, line.unit) == (6.96, "µs")
    assert cell(frame, row="nn_q16_c", metric="inference_ctypes_us").ours == pytest.approx(0.7)
    assert cell(frame, row="nn_pytorch", metric="inference_us").ours == pytest.approx(40)


def test_a_class_the_dataset_lacks_is_a_dash_with_a_note(results):
    frame = classification.table(results, "multi")
    line = cell(frame, row="dt_c", label="Infiltration", metric="f1")
    assert np.isnan(line.ours) and line.note == "not in this dataset" and line.paper == 0.764
    others = frame[(frame["row"] == "dt_c") & (frame["metric"] == "f1") & (frame["label"] != "Infiltration")]
    assert cell(frame, row="dt_c", metric="macro_f1").ours == pytest.approx(others["ours"].mean())
    first = classification.blocks(frame)[0][1]
    assert first.loc[first["Label"] == "Infiltration", "DT (C)"].item() == "– (0.764)"


def test_rows_beyond_the_paper_are_marked_and_last(results):
    frame = classification.table(results, "binary")
    assert list(dict.fromkeys(frame["name"])) == [
        *("DT (sklearn)", "NN (PyTorch)", "DT (C)", "NN (C, q16)"),
        "NN (kernel, q16) †",
    ]
    assert frame.loc[frame["row"] == "nn_q16_kernel", "paper"].isna().all()


def test_one_seed_has_no_interval(tmp_path):
    synthetic.accuracy(tmp_path / "a.jsonl", seeds=1)
    block = classification.blocks(classification.table(Results(records.read(tmp_path)), "binary"))[0][1]
    assert re.fullmatch(r"0\.\d{3}", block["Accuracy"][0])


def test_only_the_newest_profile_is_in_a_table(tmp_path):
    synthetic.accuracy(tmp_path / "a.jsonl", seeds=4, profile="paper")
    synthetic.accuracy(tmp_path / "a.jsonl", seeds=2)
    frame = classification.table(Results(records.read(tmp_path)), "binary")
    assert set(frame.loc[frame["metric"] == "accuracy", "n"]) == {2}


def test_files_say_where_they_come_from(results, tmp_path):
    exhibit = classification.exhibit(results, "multi")
    exhibit.write(tmp_path)
    text = (tmp_path / "table3.md").read_text(encoding="utf-8")
    for part in (
        "lab capture",
        "seeds 0, 1, 2",
        "smoke",
        "accuracy.jsonl, inference.jsonl",
        "only in shape",
        "Portscan",
    ):
        assert part in text
    assert max(line.count("|") for line in text.splitlines()) <= 12
    pd.testing.assert_frame_equal(
        pd.read_csv(tmp_path / "table3.csv", keep_default_na=False, na_values={"ours": [""]})[["ours"]],
        exhibit.frame[["ours"]],
    )


@pytest.mark.parametrize("task", list(config.TASKS))
def test_without_records_the_tables_say_which_notebook_to_run(task):
    text = classification.exhibit(Results([]), task).markdown()
    assert "no records yet: run notebook 04" in text
    assert "0.976" in text or "0.969" in text


def test_new_records_are_a_line_each(results):
    kinds = {kind: [r for r in results.rows if r["kind"] == kind] for kind in ("accuracy", "inference")}
    for record in kinds["accuracy"]:
        record["raw"]["agreement_with_float"] = 0.5
    frame = classification.accuracies(kinds["accuracy"])
    assert len(frame) == len(kinds["accuracy"]) and set(frame["agreement"]) == {0.5}
    assert frame["accuracy"].iloc[0] == metrics.accuracy(kinds["accuracy"][0]["raw"]["confusion"])
    times = classification.timings(kinds["inference"])
    line = cell(times, task="binary", row="dt_c", how="c_loop")
    assert (line["q1_ns"], line["median_ns"], line["q3_ns"]) == pytest.approx((300, 300, 330))
