"""The stages from a dataset to saved models, and which model a check takes.

Covers also: ids_repro.models.float_models, which trains the models of a task.
"""

from dataclasses import replace

import numpy as np
import pytest

from ids_repro import config
from ids_repro.data import dataset
from ids_repro.data.features import FEATURES
from ids_repro.models import pipeline
from ids_repro.models.model_file import load_model, save_model
from ids_repro.models.twins import TWINS
from ids_repro.native.layouts import Q

SHORT = config.profile("smoke", seeds=(3, 4), epochs=1, min_steps=0)


def test_every_model_is_trained_quantized_and_read_in_one_folder(flows, tmp_path):
    pairs = [("binary", 3), ("binary", 4), ("multi", 3), ("multi", 4)]
    trained = pipeline.train_all(flows, SHORT, folder=tmp_path)
    assert [(model.task, model.seed) for model in trained] == pipeline.tasks_and_seeds(SHORT) == pairs
    assert all(model.twins is None for model in pipeline.load_all(SHORT, tmp_path))
    quantized = pipeline.quantize_all(flows, SHORT, folder=tmp_path)
    read = pipeline.load_all(SHORT, tmp_path)
    assert len({model.sha256() for model in read}) == len(pairs)
    for before, after, model in zip(trained, quantized, read, strict=True):
        assert set(after.twins) == set(TWINS) and after.alpha[0] == 1
        assert model.sha256() == after.sha256()
        for ours, theirs in zip(model.mlp.weights(), before.mlp.weights(), strict=True):
            np.testing.assert_array_equal(ours, theirs)
    again = pipeline.quantize_all(flows, SHORT, None, "max", tmp_path)
    assert load_model("multi", 4, tmp_path).alpha == again[3].alpha == tuple(t.alpha for t in again[3].thresholds[0])


def test_models_of_other_data_are_refused(flows, models, tmp_path):
    one = replace(SHORT, seeds=(0,))
    for model in models.values():
        save_model(model, tmp_path)
    other = replace(flows, meta=flows.meta | {"sha256": "0" * 64, "name": "mine"})
    assert len(pipeline.load_all(one, tmp_path, flows)) == 2
    sentence = "the saved binary model of seed 0 did not learn the data set 'mine': run notebooks 02 and 03 again"
    for use in (pipeline.load_all, lambda profile, folder, data: pipeline.quantize_all(data, profile, folder=folder)):
        with pytest.raises(config.UserError, match=sentence):
            use(one, tmp_path, other)


def test_a_models_scaler_has_not_seen_the_other_parts(flows):
    train, *others = dataset.split(flows, 3)
    x = flows.x.copy()
    for part in others:
        x[part[0]] = 2 * x.max(axis=0)
    scaler = pipeline.train_model(replace(flows, x=x), "binary", 3, SHORT).scaler
    np.testing.assert_array_equal(scaler.min_, x[train].min(axis=0))
    np.testing.assert_array_equal(scaler.min_ + scaler.range_, x[train].max(axis=0))


def test_a_class_that_the_training_part_lacks_is_named(flows, monkeypatch):
    parts, botnet = dataset.split, flows.label == config.CLASSES.index("Botnet")

    def without_botnet(data, seed):
        train, *others = parts(data, seed)
        return train[~botnet[train]], *others

    monkeypatch.setattr(dataset, "split", without_botnet)
    with pytest.raises(config.UserError, match="no 'Botnet' is in the training part"):
        pipeline.train_model(flows, "multi", 0, SHORT)
    monkeypatch.undo()
    attacks = flows.take(flows.label != config.NORMAL)
    with pytest.raises(config.UserError, match="the binary task has only 'Attack' to learn"):
        pipeline.train_model(attacks, "binary", 0, SHORT)


def test_a_constant_feature_ends_training_before_it_begins(flows):
    x = flows.x.copy()
    x[:, FEATURES.index("proto")] = 6 << Q
    with pytest.raises(config.UserError, match="'proto' is constant in the training part"):
        pipeline.train_model(replace(flows, x=x), "binary", 0, config.profile("smoke"))


def test_a_check_takes_a_quantized_model_that_was_saved(models, tmp_path):
    save_model(models["multi"], tmp_path)
    save_model(replace(models["multi"], seed=1, twins=None), tmp_path)
    assert pipeline.any_model("multi", tmp_path).sha256() == models["multi"].sha256()


def test_a_check_takes_a_model_trained_now_if_none_is_saved_or_quantized(models, tmp_path):
    floats = save_model(replace(models["binary"], twins=None), tmp_path)
    made = pipeline.any_model("binary", tmp_path)
    assert made.task == "binary" and set(made.twins) == set(TWINS)
    assert list(tmp_path.iterdir()) == [floats]


@pytest.mark.root
def test_parity_ends_with_a_sentence_before_it_compares_anything(models, project):
    project.save(models)
    path = project.root / "data/models/binary-0.npz"
    path.write_bytes(path.read_bytes()[:1000])
    done = project.cli("parity")
    assert done.returncode == 2 and done.stdout == ""
    assert "binary-0.npz: cannot be read as a model" in done.stderr and "Traceback" not in done.stderr
    assert len(done.stderr.splitlines()) == 1, "the comparison, which loads programs, would show its progress bar"
