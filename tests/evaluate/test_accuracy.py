"""Accuracy becomes records and records tables; rows that decide alike have equal scores."""

import json

import numpy as np
import pytest
from sklearn.metrics import accuracy_score, confusion_matrix

from ids_repro import config, records
from ids_repro.__main__ import main
from ids_repro.config import UserError
from ids_repro.data import dataset, extract
from ids_repro.data.features import as_float
from ids_repro.data.labels.source import label_source
from ids_repro.evaluate import accuracy
from ids_repro.implementations import rows_in
from ids_repro.models import pipeline
from ids_repro.models.model_file import save_model
from ids_repro.report import classification
from ids_repro.report.exhibit import Results

PROFILE = config.profile("smoke", seeds=(0, 1), epochs=1, min_steps=0)
ROWS, KERNEL = [*rows_in("python", "c")], {*rows_in("kernel")}


@pytest.mark.parametrize("n_classes", [2, 7])
def test_confusion_is_scikit_learns(n_classes):
    rng = np.random.default_rng(n_classes)
    truth, found = rng.integers(0, n_classes - 1, 500), rng.integers(0, n_classes, 500).astype(np.uint8)
    expected = confusion_matrix(truth, found, labels=range(n_classes))
    np.testing.assert_array_equal(accuracy.confusion(truth, found, n_classes), expected)
    assert accuracy.confusion(truth[:0], found[:0], n_classes).shape == (n_classes, n_classes)


@pytest.fixture(scope="module")
def made(flows, tmp_path_factory):
    """Return the models of PROFILE and the records of their test parts, with a kernel row that nn_q16's twin made."""
    folder = tmp_path_factory.mktemp("accuracy")
    pairs = pipeline.tasks_and_seeds(PROFILE)
    models = [pipeline.quantize_model(pipeline.train_model(flows, *pair, PROFILE), flows) for pair in pairs]
    for model in models:
        save_model(model, folder / "models")
    kernel = {(m.task, m.seed): {"nn_q16_kernel": m.twins["nn_q16"].predict(flows.x).astype(np.uint8)} for m in models}
    made = accuracy.evaluate_all(flows, PROFILE, kernel, folder / "results", folder / "models")
    assert records.read(folder / "results/accuracy.jsonl") == made
    return models, made


def test_the_test_part_of_each_model_becomes_records(flows, made):
    models, rows = made
    frame = classification.accuracies(rows)
    assert len(frame) == len(records.current(rows, "accuracy")) == 2 * 2 * (len(ROWS) + 1)
    for model in models:
        _, _, test = dataset.split(flows, model.seed)
        truth = flows.target(model.task)[test]
        of_model = frame[(frame["task"] == model.task) & (frame["seed"] == model.seed)].set_index("row")
        assert list(of_model.index) == [*ROWS, "nn_q16_kernel"]
        by_tree = model.tree.predict(as_float(flows.x[test]))
        assert of_model.loc["dt_sklearn", "accuracy"] == accuracy_score(truth, by_tree)
        assert of_model.loc["dt_c", "agreement"] == of_model.loc["dt_sklearn", "agreement"] == 1
        by_net = model.mlp.predict(model.scaler.transform(flows.x[test]))
        by_ints = model.twins["nn_q16"].predict(flows.x[test])
        for row in ("nn_q16_c", "nn_q16_kernel"):
            assert of_model.loc[row, "accuracy"] == accuracy_score(truth, by_ints)
            assert of_model.loc[row, "agreement"] == accuracy_score(by_net, by_ints)
        asked = (model.seed, model.task, "nn_pytorch")
        record = next(r for r in rows if tuple(r["asked"][name] for name in ("seed", "task", "row")) == asked)
        matrix = confusion_matrix(truth, by_net, labels=range(model.n_classes))
        np.testing.assert_array_equal(record["raw"]["confusion"], matrix)
        identity = {"model_sha256": model.sha256(), "data_hash": flows.meta["sha256"]}
        assert record["provenance"]["identity"] == identity


def test_records_become_the_tables_accuracy(made):
    _, rows = made
    frame = classification.accuracies(rows)
    for task in config.TASKS:
        table = classification.table(Results(rows), task).set_index(["row", "metric"]).sort_index()
        for row in ROWS:
            ours = frame[(frame["task"] == task) & (frame["row"] == row)]["accuracy"].mean()
            assert np.unique(table.loc[(row, "accuracy"), "ours"]) == pytest.approx([ours])


def test_without_models_the_user_is_told_which_notebook_makes_them(flows, tmp_path):
    with pytest.raises(UserError, match="run notebooks 02 and 03 first"):
        accuracy.evaluate_all(flows, PROFILE, results=tmp_path, folder=tmp_path / "models")
    assert not (tmp_path / "accuracy.jsonl").exists()


@pytest.mark.root
@pytest.mark.bpf
def test_kernel_c_and_float_rows_stand_side_by_side(flows, sample):
    found = accuracy.study(flows, config.profile("smoke", seeds=(0, 1), epochs=1, min_steps=500), sample)
    assert set(found) == set(config.TASKS)
    all_alike = {"mean": 1.0, "low": 1.0, "high": 1.0}
    for task, rows in found.items():
        assert set(rows) == {*ROWS} | KERNEL
        for row in KERNEL:
            assert rows[row].pop("agreement_c") == all_alike
        assert rows["dt_c"] == rows["dt_sklearn"] == rows["dt_kernel"]
        assert rows["nn_q16_kernel"] == rows["nn_q16_c"]
        assert rows["nn_fused_kernel"] == rows["nn_fused_c"]
        assert rows["dt_c"]["agreement"] == all_alike
        assert rows["nn_fused_c"]["agreement"]["mean"] > 0.995
        for scores in rows.values():
            classes = {name for name in scores if name.startswith("f1 ")}
            present = config.BINARY if task == "binary" else flows.counts()
            assert classes == {f"f1 {name}" for name in present}
            assert all(s["low"] <= s["mean"] <= s["high"] and 0 <= s["mean"] <= 1 for s in scores.values())


@pytest.mark.root
@pytest.mark.bpf
def test_a_dataset_without_packets_is_given_to_the_kernel_as_vectors(tmp_path):
    extract.run(config.SAMPLE, tmp_path / "x.parquet", label_source(config.SAMPLE_LABELS))
    data, trace = accuracy.read(tmp_path / "x.parquet")
    assert trace is None
    found = accuracy.study(data, config.profile("smoke", seeds=(0,), epochs=1, min_steps=1), trace)
    for rows in found.values():
        assert rows["dt_kernel"].pop("agreement_c")["mean"] == 1
        assert rows["dt_kernel"] == rows["dt_c"]


def test_a_packet_table_is_read_as_one_vector_a_flow():
    shared = config.ROOT.parent / "shared" / "cic-ids2017"
    if shared.is_dir():  # The table that is made of the sample is tested in tests/data/test_extract.py.
        data = accuracy.read(shared)[0]
        assert len(data.x) == 32_753
        assert data.counts() == {"DoS": 13_485, "Normal": 17_842, "Portscan": 755, "Web attack": 671}
    assert accuracy.read(config.SAMPLE)[0].meta["name"] == "lab capture"


def test_the_command_prints_one_json_object(capsys, monkeypatch):
    short = config.profile("smoke", epochs=1, min_steps=1)
    monkeypatch.setitem(config.PROFILES, "smoke", short)
    assert main(["accuracy", "--seeds", "1", "--user-space", "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert set(found["multi"]) == {*ROWS}
    assert found["binary"]["dt_c"]["accuracy"]["low"] is None  # no interval from one seed
