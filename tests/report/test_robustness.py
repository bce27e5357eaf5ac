"""The table of faults adds up the records of each fault and command, and says what was lost and left."""

import pytest

from ids_repro import records
from ids_repro.report import page, robustness
from ids_repro.report.exhibit import Results


def made(folder, fault, first, **found):
    asked = {"fault": fault, "command": "sweep", "seed": 1, "first": first, "tries": 5}
    raw = {"moments_s": [0.5] * 5, "lost": [], "left": [], "wrong": []} | found
    return records.append(folder / "fault.jsonl", "fault", asked, raw)


def test_tries_and_what_went_wrong_are_added_up_in_the_order_of_the_titles(tmp_path):
    rows = [made(tmp_path, "torn_line", 0), made(tmp_path, "SIGKILL", 0), made(tmp_path, "SIGKILL", 5, left=["x", "y"])]
    table = robustness.table(Results(rows))
    assert table[["fault", "tries", "lost", "left", "wrong", "verdict"]].to_numpy().tolist() == [
        ["SIGKILL", 10, 0, 2, 0, "differs"],
        ["torn_line", 5, 0, 0, 0, "holds"],
    ]
    text = robustness.exhibit(Results(rows)).markdown()
    assert "| kill -9, at a random moment | sweep | 10 | 0 | 2 | 0 | differs |" in text


def test_a_batch_that_was_tried_again_counts_once(tmp_path):
    rows = [made(tmp_path, "SIGKILL", 0, lost=["x"]), made(tmp_path, "SIGKILL", 0)]
    assert robustness.table(Results(rows))[["tries", "lost"]].to_numpy().tolist() == [[5, 0]]


def test_the_page_has_the_table_if_there_are_records_of_faults(tmp_path):
    rows = [made(tmp_path, "SIGKILL", 0)]
    assert [one.name for one in page.sections(Results(rows))["Faults"]] == ["robustness"]
    assert "run make test-faults" in robustness.exhibit(Results([])).caption


@pytest.mark.parametrize("wrong", [{"lost": [1]}, {"moments_s": [-1.0]}, {"left": None}])
def test_a_record_that_does_not_say_what_was_lost_is_refused(tmp_path, wrong):
    with pytest.raises(ValueError, match="a record of kind 'fault'"):
        made(tmp_path, "SIGKILL", 0, **wrong)
