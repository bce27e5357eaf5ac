"""Claims about scores: judged on the paper's data set, shown on another; one classifier against another on any."""

import numpy as np
import pytest

from ids_repro import config, records
from ids_repro.published import published
from ids_repro.report import claims
from ids_repro.report.exhibit import Results
from ids_repro.report.verdicts import BETTER, DIFFERS, HOLDS, NOT_COMPARABLE, NOT_MEASURED

ROWS = published()["table3"]["rows"]


def confusion(recalls, each=1000):
    """Return a matrix in which of each class so many are found, and the others are called normal, or Botnet."""
    n = len(config.CLASSES)
    matrix = np.zeros((n, n), int)
    for at, name in enumerate(config.CLASSES):
        hit = round(each * recalls.get(name, 1.0))
        matrix[at, at] += hit
        matrix[at, 0 if name == "Normal" else config.NORMAL] += each - hit
    return matrix


def judged(tmp_path, recalls, dataset="CIC-IDS2017", absent=()):
    """Return the lines of the claims from matrices with these shares found, by row and class."""
    for row in ROWS:
        matrix = confusion(recalls.get(row, {}))
        for name in absent:
            matrix[config.CLASSES.index(name)] = 0
        asked = {"task": "multi", "row": row, "seed": 0, "dataset": dataset}
        raw = {"confusion": matrix, "model_bytes": 1568}
        records.append(tmp_path / "a.jsonl", "accuracy", asked, raw)
    return claims.table(Results(records.read(tmp_path))).set_index("id")


def test_cells_are_judged_on_the_papers_data_set(tmp_path):
    recalls = {row: {name: part["recall"] for name, part in one["classes"].items()} for row, one in ROWS.items()}
    lines = judged(tmp_path, recalls)
    cells = lines[lines.index.str.match(r"table3\..*\.recall")]
    assert len(cells) == 28 and set(cells["verdict"]) == {HOLDS}
    assert lines.loc["table3.dt_c.normal.recall", "reason"] == "mean of 1 seeds, range; +0.000 to the paper"
    recalls["dt_c"]["Normal"] -= 0.06
    lines = judged(tmp_path, recalls)
    assert lines.loc["table3.dt_c.normal.recall", ["ours", "verdict"]].tolist() == [0.933, DIFFERS]
    assert lines.loc["table3.dt_c.normal.recall", "reason"].endswith("-0.060 to the paper")
    assert set(lines[lines.index.str.startswith("table2.")]["verdict"]) == {NOT_MEASURED}


def test_where_the_net_loses_more_than_the_papers_it_is_said_what_int8_weights_lose(tmp_path):
    path = tmp_path / "b.jsonl"
    asked = {"task": "multi", "seed": 0, "method": "kl", "input": "range", "dataset": "CIC-IDS2017"}
    for method in ("kl", "max"):
        scores = {"float": 0.9, "q16": 0.85, "int8 weights": 0.86 if method == "kl" else 0.5}
        records.append(path, "calibration", asked | {"method": method}, {"accuracy": scores})
    lines = judged(tmp_path, {"nn_q16_c": {"DoS": 0.5, "Normal": 0.8}})
    said = "with int8 weights alone the net loses 4.0 of 5.0 points on the validation part; "
    assert lines.loc["accuracy_loss_points.multi.nn_q16_c.nn_pytorch", "reason"].startswith(said)
    assert "calibration.jsonl: 1 records" in lines.loc["accuracy_loss_points.multi.nn_q16_c.nn_pytorch", "record"]
    assert "int8" not in lines.loc["accuracy_loss_points.multi.dt_c.dt_sklearn", "reason"]
    assert "int8" not in judged(tmp_path, {})["reason"]["accuracy_loss_points.multi.nn_q16_c.nn_pytorch"]


def test_cells_of_other_traffic_are_shown_and_not_judged(tmp_path):
    lines = judged(tmp_path, {}, "lab capture", absent=["Botnet"])
    cells = lines[lines.index.str.match(r"table3\..*\.(accuracy|precision|recall|f1)$")]
    assert set(cells["verdict"]) == {NOT_COMPARABLE} and cells["ours"].notna().sum() == 4 * (1 + 6 * 3)
    assert cells.loc["table3.dt_c.dos.f1", "reason"].startswith("a score on the lab capture: other traffic than CIC")
    assert cells.loc["table3.dt_c.botnet.f1", "reason"] == "the lab capture has no flow of this class"
    gain = lines.loc["class_gain.botnet.nn_q16_c.dt_c.f1"]
    assert gain["verdict"] == NOT_COMPARABLE and gain["paper"] == pytest.approx(0.774)


def test_one_classifier_against_another_is_judged_on_any_data_and_named(tmp_path):
    low = {"Botnet": 0.1, "Infiltration": 0.9}
    lines = judged(tmp_path, {"dt_sklearn": low, "dt_c": low, "nn_pytorch": {"Infiltration": 0.8}}, "lab capture")
    expected = {
        "class_gain.botnet.nn_pytorch.dt_sklearn.f1": HOLDS,
        "class_gain.brute_force.nn_pytorch.dt_sklearn.f1": DIFFERS,
        "class_edge.infiltration.dt_sklearn.nn_pytorch.recall": HOLDS,
        "class_edge.infiltration.dt_c.nn_q16_c.recall": DIFFERS,
        "class_good.portscan.f1": HOLDS,
        "class_failed.web_attack.f1": DIFFERS,
        "most_classes_n.nn_pytorch.dt_sklearn.f1": DIFFERS,
    }
    assert {name: lines.loc[name, "verdict"] for name in expected} == expected
    for name in expected:
        assert "on the lab capture, not on CIC-IDS2017" in lines.loc[name, "reason"]
    assert "DT (sklearn) 0.900, NN (PyTorch) 0.800" in lines.loc[list(expected)[2], "reason"]


def test_the_size_of_both_structs_is_compared(tmp_path):
    name = "model_size_percent.nn_q16_c.nn_float_c"
    assert judged(tmp_path / "none", {}).loc[name, "verdict"] == NOT_MEASURED
    for row, size in {"nn_q16_c": 1568, "nn_float_c": 3264}.items():
        asked, raw = {"task": "binary", "row": row, "seed": 0}, {"confusion": [[1, 0], [0, 1]], "model_bytes": size}
        records.append(tmp_path / "b.jsonl", "accuracy", asked, raw)
    line = claims.table(Results(records.read(tmp_path / "b.jsonl"))).set_index("id").loc[name]
    assert line["ours"] == pytest.approx(48.04, abs=0.01) and line["verdict"] == DIFFERS
    assert line["reason"].startswith("1,568 of 3,264 bytes")


def test_a_time_is_judged_by_its_quartiles_and_may_be_better(tmp_path):
    for row, times in {"dt_sklearn": [70e3, 80e3, 90e3], "nn_q16_c": [300.0, 310.0], "dt_c": [5e3, 6e3]}.items():
        how = "python_single" if row == "dt_sklearn" else "c_loop"
        asked = {"task": "binary", "row": row, "how": how}
        records.append(tmp_path / "a.jsonl", "inference", asked, {"ns_per_inference": times})
    lines = claims.table(Results(records.read(tmp_path))).set_index("id")
    found = {row: lines.loc[f"table2.{row}.inference_us", "verdict"] for row in ("dt_sklearn", "nn_q16_c", "dt_c")}
    assert found == {"dt_sklearn": HOLDS, "nn_q16_c": BETTER, "dt_c": DIFFERS}
    assert lines.loc["table2.dt_c.inference_us", "reason"].endswith("; another CPU")
