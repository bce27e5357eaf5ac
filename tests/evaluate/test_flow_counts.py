"""Flows by class beside the paper's: in the table of the notebooks, in the records and in the claims.

Covers also: ids_repro.report.flow_counts and ids_repro.report.verdicts.
"""

import numpy as np
import pandas as pd
import pytest

from ids_repro import config, records
from ids_repro.data.dataset import Dataset
from ids_repro.evaluate import flow_counts
from ids_repro.published import published
from ids_repro.report import claims, verdicts
from ids_repro.report.exhibit import Results

TRAINED = published()["training_flows"]["classes"]
PAPERS = {name: round(n * 15 / 8) for name, n in TRAINED.items()}  # what the paper's dataset has, to within the draw


def made(counts, name="CIC-IDS2017", packets=1):
    """Return a dataset with so many flows of each class, each of `packets` packets."""
    label = np.repeat(np.repeat([config.CLASSES.index(one) for one in counts], list(counts.values())), packets)
    flow = np.repeat(np.arange(sum(counts.values())), packets)
    n, zeros = len(flow), np.zeros(len(flow), np.int64)
    meta = {"name": name, "sha256": "ab", "parameters": {"flow_rules": "go-flows"}, "labels": {"source": "published"}}
    return Dataset(np.zeros((n, 12), np.int64), flow, zeros, np.arange(n), zeros, label.astype(np.int8), meta)


def judged(rows):
    table = claims.table(Results(rows))
    table = table[table["claim"].str.contains("[Ff]lows")]
    return {line.claim.rpartition(": ")[2]: (line.ours, line.verdict, line.reason) for line in table.itertuples()}


def test_flows_are_counted_not_packets():
    few = {"Normal": 3, "DoS": 2}
    assert flow_counts.by_class(made(few, packets=5)) == {"DoS": 2, "Normal": 3}


def test_the_papers_own_numbers_are_the_same(tmp_path):
    table = flow_counts.record(made(PAPERS), tmp_path)
    assert table["same"].all()
    assert table.loc["all", "paper"] == 2_315_197 and table.loc["attack", "paper"] == 585_198
    assert table.loc["Botnet", ["flows", "training flows", "released models"]].tolist() == [778, 415, 415]
    found = judged(records.read(tmp_path))
    assert set(found) == {"all", "normal", "attack", *config.CLASSES}
    assert {verdict for _, verdict, _ in found.values()} == {verdicts.HOLDS}
    assert "labels published, flow rules go-flows; 8/15 of 778" in found["Botnet"][2]


def test_other_numbers_differ_and_small_classes_may_differ_by_the_draw(tmp_path):
    flow_counts.record(made(PAPERS | {"Normal": PAPERS["Normal"] + 40_000, "Botnet": 800, "DoS": 350_000}), tmp_path)
    found = {name: verdict for name, (_, verdict, _) in judged(records.read(tmp_path)).items()}
    differ = {name for name, verdict in found.items() if verdict == verdicts.DIFFERS}
    assert differ == {"all", "normal", "DoS", "Normal"}


def test_another_data_set_is_shown_and_not_judged(tmp_path):
    table = flow_counts.record(made({"Normal": 30, "DoS": 10}, "CIC-IDS2017 subset"), tmp_path)
    assert "same" not in table and pd.isna(table.loc["DoS", "paper"])
    found = judged(records.read(tmp_path))
    assert found["attack"][:2] == (10, verdicts.NOT_COMPARABLE)
    assert found["attack"][2] == "of CIC-IDS2017; ours are of the CIC-IDS2017 subset"


def test_the_same_flows_are_recorded_once(tmp_path):
    for _ in range(2):
        flow_counts.record(made({"Normal": 30}), tmp_path)
    assert len(records.read(tmp_path)) == 1


@pytest.mark.parametrize("of", ["all", *config.CLASSES])
def test_without_a_record_nothing_is_judged(of):
    ours, verdict, detail = judged([])[of]
    assert np.isnan(ours) and verdict == verdicts.NOT_MEASURED and detail.endswith("reproduce --only 02")
