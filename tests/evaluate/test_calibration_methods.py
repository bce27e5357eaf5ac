"""The effect of each calibration method is that of a net quantized so, and becomes a record."""

import numpy as np
import pytest

from ids_repro import config, records
from ids_repro.data import dataset
from ids_repro.evaluate import calibration_methods
from ids_repro.models import pipeline
from ids_repro.models.calibration import CALIBRATION_METHODS


@pytest.fixture(scope="module")
def effects(models, flows, tmp_path_factory):
    """Return the table of effects, and the records that were written."""
    folder = tmp_path_factory.mktemp("results")
    frame = calibration_methods.effects([*models.values()], flows, config.profile("smoke"), folder)
    return frame, records.read(folder / "calibration.jsonl")


def test_the_effect_of_every_method_is_a_record(effects, models, flows):
    frame, rows = effects
    expected = {
        (t, 0, m, i, "lab capture", "smoke") for t in models for m in CALIBRATION_METHODS for i in ("range", "method")
    }
    asked = ("task", "seed", "method", "input", "dataset", "profile")
    assert {tuple(row["asked"][name] for name in asked) for row in rows} == expected
    assert len(frame) == len(records.current(rows, "calibration")) == len(rows) == len(expected)
    for line, row in zip(frame.to_dict("records"), rows, strict=True):
        assert (line["task"], line["method"], line["input"]) == tuple(row["asked"][n] for n in ("task", *asked[2:4]))
        assert [line[f"alpha {layer}"] for layer in (1, 2, 3)] == row["raw"]["alpha"]
        assert line["agreement q16"] == row["raw"]["agreement"]["q16"]
        identity = {"model_sha256": models[line["task"]].sha256(), "data_hash": flows.meta["sha256"]}
        assert row["provenance"]["identity"] == identity


@pytest.mark.parametrize(("method", "inputs"), [("kl", "method"), ("max", "range")])
def test_an_effect_is_that_of_a_net_quantized_so(effects, models, flows, method, inputs):
    for task, model in models.items():
        frame = effects[0]
        line = frame[(frame["task"] == task) & (frame["method"] == method) & (frame["input"] == inputs)].iloc[0]
        net = pipeline.quantize_model(model, flows, None if inputs == "method" else 1.0, method)
        _, at, _ = dataset.split(flows, model.seed)
        truth, floats = flows.target(task)[at], model.mlp.predict(model.scaler.transform(flows.x[at]))
        assert tuple(line[f"alpha {layer}"] for layer in (1, 2, 3)) == net.alpha
        found = net.twins["nn_q16"].predict(flows.x[at])
        assert (line["accuracy q16"], line["agreement q16"]) == (np.mean(found == truth), np.mean(found == floats))
        assert line["accuracy float"] == np.mean(floats == truth)
        assert line["accuracy int8 weights"] == pytest.approx(line["accuracy float"], abs=0.02)


def test_only_kl_of_the_input_costs_much(effects):
    """This is why `quantize_model` differs from the paper: all other methods choose the range of X^(1)."""
    frame = effects[0]
    first = frame[(frame["input"] == "method") & (frame["method"] != "kl")]["alpha 1"]
    assert np.all(first > 0.99)
    assert np.all(frame[(frame["input"] == "method") & (frame["method"] == "kl")]["alpha 1"] < 0.5)
    assert frame[frame["input"] == "range"]["agreement q16"].min() > 0.95


def test_all_thresholds_are_in_one_table(models):
    frame = calibration_methods.thresholds([*models.values()])
    assert len(frame) == 3 * len(models)
    np.testing.assert_array_equal(frame["alpha max"], frame["max |X|"])
    np.testing.assert_array_equal(frame["alpha used"], [a for model in models.values() for a in model.alpha])
    hidden = frame["layer"] > 1
    np.testing.assert_array_equal(frame["alpha kl"][hidden], frame["alpha used"][hidden])
    assert np.all(frame["weights max"] == 1)


def test_integer_models_decide_as_their_float_models(models, flows):
    frame = calibration_methods.agreement([*models.values()], flows)
    assert list(frame["task"]) == list(models)
    assert (frame["DT"] == 1).all()
    assert (frame[["NN (q16)", "NN (fused)"]] > 0.95).all().all()
