"""What a detector finds is counted right, and the tests of detectors stand side by side."""

from dataclasses import replace

import numpy as np
import pytest

from ids_repro import records
from ids_repro.config import NORMAL, PROFILES, SAMPLE, SECOND_SAMPLE
from ids_repro.data.dataset import Dataset
from ids_repro.evaluate import detection, recordings
from ids_repro.evaluate.recordings import Recording
from ids_repro.models.detector import train
from ids_repro.models.scorers import Settings
from ids_repro.models.verdicts import raised

DOS, SCAN = 2, 5


def made_recording() -> tuple[Recording, np.ndarray]:
    """Return five flows and the scores of their packets: two DoS flows of one incident, a scan, two normal flows."""
    flow = np.array([0, 1, 2, 0, 3, 4, 1, 0, 3])
    label = np.array([DOS, DOS, SCAN, NORMAL, NORMAL])[flow]
    index = np.array([0, 0, 0, 1, 0, 0, 1, 2, 1])
    time_us = np.arange(9) * 1000
    data = Dataset(np.zeros((9, 12), np.int64), flow, index, np.arange(9), time_us, label, {})
    score = np.array([1, 9, 2, 8, 1, 1, 9, 9, 8])
    return Recording(data, np.array([10, 10, 11, 99, 99]), 450.0), score


def test_the_outcome_of_a_recording_that_was_made_by_hand():
    recording, score = made_recording()
    found = detection.outcome(recording, score, 8)
    assert (found["found"], found["false_alarms"]) == (pytest.approx(2 / 3), 0.5)
    assert found["by_class"] == {"DoS": 1.0, "Portscan": 0.0}
    assert found["incidents"] == 0.5
    assert found["packets_to_alarm"] == 1.5  # the second packet of flow 0, the first of flow 1
    assert found["ms_to_alarm"] == 1.5  # 3 ms and 0
    assert found["false_alarms_per_hour"] == 225.0
    assert found["flows"] == {"DoS": 2, "Normal": 2, "Portscan": 1}
    none = detection.outcome(recording, score, 10)
    assert (none["found"], none["packets_to_alarm"], none["ms_to_alarm"], none["incidents"]) == (0, None, None, 0)


def test_a_flow_stays_flagged_from_the_packet_that_raised_the_alarm_on():
    recording, score = made_recording()
    flagged = raised(score >= 8, recording.data.flow)
    assert flagged.tolist() == [False, True, False, True, False, False, True, True, True]


def test_an_incident_without_a_schedule_is_unknown():
    recording, score = made_recording()
    assert detection.outcome(Recording(recording.data), score, 8)["incidents"] is None


@pytest.fixture(scope="module")
def two():
    return recordings.read(SAMPLE), recordings.read(SECOND_SAMPLE)


@pytest.mark.parametrize(("budget", "found", "flagged", "least"), [(0.01, 0.93, 0.016, 0.7), (0.001, 0.72, 0.002, 0.0)])
def test_the_tree_keeps_its_budget_on_another_recording_and_finds_the_attacks(two, budget, found, flagged, least):
    trial = detection.Trial("dt_deep", "other_recording", *two, 0, (budget,), Settings())
    out = detection.run(trial)["outcomes"][0]
    assert out["found"] >= found and out["false_alarms"] <= flagged
    assert min(out["by_class"].values()) >= least


def test_every_row_is_tested_in_every_way_and_recorded(two, tmp_path, monkeypatch):
    rows = ("dt_paper", "nn_log2", "dt_deep")
    monkeypatch.setattr(detection, "ROWS", {row: detection.ROWS[row] for row in rows})
    some = [part.take(np.unique(part.data.flow)[::8]) for part in two]
    profile = replace(PROFILES["smoke"], detector_seeds=(0, 1), detector_epochs=1)
    made, model = detection.evaluate_all(*some, profile, (0.05, 0.01), tmp_path)
    assert [(r["asked"]["row"], r["asked"]["test"], r["asked"]["seed"]) for r in made] == [
        (row, test, seed) for row in rows for test in detection.TESTS for seed in (0, 1)
    ]
    alone = train(some[0].data, 0.05, settings=Settings.of(profile))
    assert (model.sha256(), model.about, model.detector) == (alone.sha256(), alone.about, alone.detector)
    assert records.read(tmp_path) == made and all(r["kind"] == "detector" for r in made)
    curve = made[-1]["raw"]["curve"]
    assert len(curve["found"]) == len(detection.CURVE) and curve["found"][-1] == curve["flagged"][-1] == 1.0
    assert np.all(np.diff(curve["found"]) >= 0) and np.all(np.array(curve["flagged"]) <= detection.CURVE + 1e-9)


def test_boosted_trees_and_the_papers_net_can_be_tested(two):
    some = [part.take(np.unique(part.data.flow)[::10]) for part in two]
    for row in ("boosted", "nn_paper"):
        out = detection.run(detection.Trial(row, "other_recording", *some, 0, (0.05,), Settings()))
        assert 0 < out["outcomes"][0]["false_alarms"] < 0.5 and len(out["curve"]["found"]) == 41
