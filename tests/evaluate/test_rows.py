"""Accuracy and inference time become records, and the records tables."""

import numpy as np
import pytest
from sklearn.metrics import accuracy_score, confusion_matrix

from ids_repro import config, records
from ids_repro.data import dataset, packets
from ids_repro.data.features import as_float
from ids_repro.evaluate import accuracy, timing
from ids_repro.evaluate.rows import predictions
from ids_repro.models import pipeline
from ids_repro.models.model import load_model, model_path, save_model
from ids_repro.native import library
from ids_repro.report import classification

PROFILE = config.profile("smoke", seeds=(0, 1), epochs=1, min_steps=0, timing_rounds=2)
USER_SPACE = ["dt_sklearn", "nn_pytorch", "dt_c", "nn_q16_c", "nn_fused_c", "nn_float_c"]


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    out = tmp_path_factory.mktemp("interim") / "lab.parquet"
    return dataset.prepare(config.SAMPLE, config.SAMPLE.with_suffix(".csv"), out).sample()


@pytest.fixture
def results(tmp_path, monkeypatch):
    """Models and results in a folder of the test's own."""
    for function in (save_model, load_model, model_path):
        monkeypatch.setattr(function, "__defaults__", (tmp_path / "models",))
    for module, name in ((accuracy, "accuracy"), (timing, "inference")):
        monkeypatch.setattr(module, name.upper(), tmp_path / "results" / f"{name}.jsonl")
    return tmp_path / "results"


@pytest.mark.parametrize("n_classes", [2, 7])
def test_confusion_is_scikit_learns(n_classes):
    rng = np.random.default_rng(n_classes)
    truth, found = rng.integers(0, n_classes - 1, 500), rng.integers(0, n_classes, 500).astype(np.uint8)
    expected = confusion_matrix(truth, found, labels=range(n_classes))
    np.testing.assert_array_equal(accuracy.confusion(truth, found, n_classes), expected)
    assert accuracy.confusion(truth[:0], found[:0], n_classes).shape == (n_classes, n_classes)


@pytest.mark.root
@pytest.mark.bpf
def test_models_become_records_and_records_tables(data, results):
    pipeline.train_all(data, PROFILE, folder=results.parent / "models")
    quantized = pipeline.quantize_all(data, PROFILE)
    replayed = {
        (m.task, m.seed): {"nn_q16_kernel": m.twins["nn_q16"].predict(data.x).astype(np.uint8)} for m in quantized
    }
    frame = accuracy.evaluate_all(data, PROFILE, replayed)
    times = timing.time_all(data, PROFILE, packets.read(config.SAMPLE))
    rows = records.read(results)

    assert len(frame) == len(records.current(rows, "accuracy")) == 2 * 2 * 7
    for model in quantized:
        _, _, test = dataset.split(data, model.seed)
        truth = data.target(model.task)[test]
        of_model = frame[(frame["task"] == model.task) & (frame["seed"] == model.seed)].set_index("row")
        assert list(of_model.index) == [*USER_SPACE, "nn_q16_kernel"]
        by_tree = model.tree.predict(as_float(data.x[test]))
        assert of_model.loc["dt_sklearn", "accuracy"] == accuracy_score(truth, by_tree)
        assert of_model.loc["dt_c", "agreement"] == of_model.loc["dt_sklearn", "agreement"] == 1
        by_net, by_ints = (
            model.mlp.predict(model.scaler.transform(data.x[test])),
            model.twins["nn_q16"].predict(data.x[test]),
        )
        for row in ("nn_q16_c", "nn_q16_kernel"):
            assert of_model.loc[row, "accuracy"] == accuracy_score(truth, by_ints)
            assert of_model.loc[row, "agreement"] == accuracy_score(by_net, by_ints)
        record = next(
            r for r in rows if r["asked"].get("seed") == model.seed
            and (r["asked"]["task"], r["asked"]["row"]) == (model.task, "nn_pytorch")
        )  # fmt: skip
        np.testing.assert_array_equal(
            record["raw"]["confusion"], confusion_matrix(truth, by_net, labels=range(model.n_classes))
        )
        identity = {"model_sha256": model.sha256(), "data_hash": data.meta["sha256"]}
        assert record["provenance"]["identity"] == identity

    for task in config.TASKS:
        table = classification.table(task, rows).set_index(["row", "metric"]).sort_index()
        for row in USER_SPACE:
            ours = frame[(frame["task"] == task) & (frame["row"] == row)]["accuracy"].mean()
            assert np.unique(table.loc[(row, "accuracy"), "ours"]) == pytest.approx([ours])
        for row, how, metric in (
            ("dt_sklearn", "python_single", "inference_us"),
            ("nn_q16_c", "c_loop", "inference_us"),
            ("dt_c", "ctypes_single", "inference_ctypes_us"),
            ("nn_q16_c_O0", "ctypes_less_call", "inference_less_call_us"),
        ):
            ns = times[(times["task"] == task) & (times["row"] == row) & (times["how"] == how)]["median_ns"].item()
            assert np.isfinite(ns)
            assert table.loc[(row, metric), "ours"].item() == pytest.approx(ns / 1000)
        # a Python call for each inference costs more than the inference
        table = table[~table.index.duplicated()]
        assert table.loc[("nn_q16_c", "inference_us"), "ours"] < table.loc[("nn_q16_c", "inference_ctypes_us"), "ours"]
        assert not {"flow_kernel", "empty_call"} & set(table.index.get_level_values("row"))
    rounds = {
        tuple(r["asked"][key] for key in ("task", "row", "how")): r["raw"]["ns_per_inference"]
        for r in records.current(rows, "inference")
    }
    for (task, row, how), ns in rounds.items():
        if how == "ctypes_less_call":
            own = np.subtract(rounds[task, row, "ctypes_single"], rounds[task, row, "ctypes_empty"])
            np.testing.assert_allclose(ns, own)
        if how == "kernel":
            flow = rounds[task, "flow_kernel", "kernel_packet"]
            np.testing.assert_allclose(ns, np.subtract(rounds[task, row, "kernel_packet"], flow))
    for record in records.current(rows, "inference"):
        assert len(record["raw"]["ns_per_inference"]) == PROFILE.timing_rounds


def test_without_models_the_user_is_told_which_notebook_makes_them(data, results):
    with pytest.raises(config.UserError, match="run notebooks 02 and 03 first"):
        accuracy.evaluate_all(data, PROFILE)
    assert not accuracy.ACCURACY.exists()


def test_every_row_of_the_tables_is_predicted(models, sample):
    """On every packet of the sample, of which the models saw one a flow."""
    model = models["multi"]
    x, _ = library.extract(sample.rows)
    found = predictions(model, x)
    assert list(found) == USER_SPACE
    assert all(len(classes) == len(x) and set(classes) <= set(range(7)) for classes in found.values())
    np.testing.assert_array_equal(found["dt_c"], found["dt_sklearn"])
    np.testing.assert_array_equal(found["nn_q16_c"], model.twins["nn_q16"].predict(x))
    assert np.mean(found["nn_q16_c"] == found["nn_pytorch"]) > 0.9
