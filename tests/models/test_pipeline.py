"""The stages from a dataset to saved models, and which model a check takes."""

from dataclasses import replace

import numpy as np
import pytest

from ids_repro import config
from ids_repro.models import pipeline
from ids_repro.models.model import load_model, save_model

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
        assert set(after.twins) == set(pipeline.TWINS) and after.alpha[0] == 1
        assert model.sha256() == after.sha256()
        for ours, theirs in zip(model.mlp.weights(), before.mlp.weights(), strict=True):
            np.testing.assert_array_equal(ours, theirs)
    again = pipeline.quantize_all(flows, SHORT, None, "max", tmp_path)
    assert load_model("multi", 4, tmp_path).alpha == again[3].alpha == tuple(t.alpha for t in again[3].thresholds[0])


def test_a_check_takes_a_quantized_model_that_was_saved(models, tmp_path):
    save_model(models["multi"], tmp_path)
    save_model(replace(models["multi"], seed=1, twins=None), tmp_path)
    assert pipeline.any_model("multi", tmp_path).sha256() == models["multi"].sha256()


def test_a_check_takes_a_model_trained_now_if_none_is_saved_or_quantized(models, tmp_path):
    floats = save_model(replace(models["binary"], twins=None), tmp_path)
    made = pipeline.any_model("binary", tmp_path)
    assert made.task == "binary" and set(made.twins) == set(pipeline.TWINS)
    assert list(tmp_path.iterdir()) == [floats]


@pytest.mark.root
def test_parity_ends_with_a_sentence_before_it_compares_anything(models, project):
    project.save(models)
    path = project.root / "data/models/binary-0.joblib"
    path.write_bytes(path.read_bytes()[:1000])
    done = project.cli("parity")
    assert done.returncode == 2 and done.stdout == ""
    assert "binary-0.joblib: cannot be read as a model" in done.stderr and "Traceback" not in done.stderr
    assert len(done.stderr.splitlines()) == 1, "the comparison, which loads programs, would show its progress bar"
