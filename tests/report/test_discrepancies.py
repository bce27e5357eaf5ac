"""The table of the released code's discrepancies is made from records, and compares rows of the same model only."""

import pytest

from ids_repro import config, published, records
from ids_repro.report import discrepancies
from ids_repro.report.exhibit import Results

ROWS = published.discrepancies()


def add(path, switch, seed, accuracy, model="one", task="binary"):
    """Append a record of one row."""
    asked = {"task": task, "switch": switch, "seed": seed, "dataset": "lab capture", "profile": "smoke"}
    raw = {"accuracy": accuracy, "accuracy_float": 1.0, "agreement_with_float": accuracy}
    records.append(path, "discrepancy", asked, raw, identity={"model_sha256": model})


def test_only_rows_of_the_same_model_are_compared(tmp_path):
    for seed, accuracy in enumerate((0.9, 0.8, 0.7)):
        add(tmp_path / "a.jsonl", "none", seed, accuracy, "new")
        add(tmp_path / "a.jsonl", "clip", seed, accuracy - 0.1 * seed, "new" if seed < 2 else "old")
    table = discrepancies.table(Results(records.read(tmp_path)))
    frame = table.set_index(["switch", "task", "metric"])
    cell = frame.loc[("clip", "binary", "accuracy")]
    assert cell["n"] == 2
    assert cell["ours"] == pytest.approx(-5)  # 0 and -10 points
    assert (cell["low"], cell["high"]) == pytest.approx((-10, 0))  # of two seeds the range
    # of seed 2, the newest record is of another model than the row "none": the two cannot stand in one table
    assert frame.loc[("none", "binary", "accuracy"), "ours"] == pytest.approx(85)
    assert frame.loc[("shift", "binary", "accuracy"), "n"] == 0
    line = discrepancies.blocks(table)[0].frame.set_index("As released").loc[ROWS["clip"]["text"]]
    assert line["NN (C, q16), binary"] == "-5.00 [-10.00, +0.00]"


def test_every_row_is_written_with_where_it_was_measured(tmp_path):
    for row in ROWS:
        for task in config.TASKS:
            add(tmp_path / "a.jsonl", row, 0, 0.9, task=task)
    discrepancies.exhibit(Results(records.read(tmp_path))).write(tmp_path)
    text = (tmp_path / "discrepancies.md").read_text()
    for row in ROWS.values():
        assert f"\n| {row['text']} |" in text
    assert "dataset lab capture; profile smoke; seed 0; commit" in text
    n_records = len(ROWS) * len(config.TASKS)
    assert len((tmp_path / "discrepancies.csv").read_text().splitlines()) == 1 + 3 * n_records


def test_without_records_it_says_which_notebook_to_run():
    assert "no records yet: run notebook 04" in discrepancies.exhibit(Results([])).markdown()
