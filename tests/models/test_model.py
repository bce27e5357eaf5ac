"""A model file that is damaged, or of another version, size or model, is refused before anything is loaded."""

from dataclasses import replace

import joblib
import numpy as np
import pytest

from ids_repro import config
from ids_repro.__main__ import main
from ids_repro.models import model, pipeline
from ids_repro.models.model import load_model, model_path, save_model
from ids_repro.native import layouts
from ids_repro.native.layouts import MLP_FUSED


@pytest.fixture
def path(models, tmp_path):
    return save_model(models["binary"], tmp_path)


def test_what_was_saved_is_read(models, path, tmp_path):
    again = load_model("binary", 0, tmp_path)
    assert again.sha256() == models["binary"].sha256()
    assert list(tmp_path.iterdir()) == [path]
    with pytest.raises(config.UserError, match="run notebooks 02 and 03 first"):
        load_model("multi", 0, tmp_path)


@pytest.mark.parametrize("cut", [0, 10, 0.5, 0.99])
def test_a_file_that_is_cut_off_is_refused(path, tmp_path, cut):
    whole = path.read_bytes()
    path.write_bytes(whole[: cut if isinstance(cut, int) else int(cut * len(whole))])
    with pytest.raises(
        config.UserError, match=r"binary-0\.joblib: cannot be read as a model .* run notebooks 02 and 03"
    ):
        load_model("binary", 0, tmp_path)


def test_text_is_no_model(path, tmp_path):
    path.write_text("accuracy = 1.0\n")
    with pytest.raises(config.UserError, match="cannot be read as a model"):
        load_model("binary", 0, tmp_path)


def test_a_file_without_a_version_is_refused(models, path, tmp_path):
    joblib.dump(models["binary"], path)  # as it was before files had one
    with pytest.raises(config.UserError, match="another version .* format is not given, this one's 1"):
        load_model("binary", 0, tmp_path)


def test_a_model_of_other_code_is_refused(path, tmp_path, monkeypatch):
    monkeypatch.setitem(layouts.STRUCTS, "nn_fused", np.dtype([*MLP_FUSED.descr, ("bias", "i8", 16)]))
    size = layouts.STRUCTS["nn_fused"].itemsize
    with pytest.raises(config.UserError, match=f"its nn_fused is {size - 128}, this one's {size}"):
        load_model("binary", 0, tmp_path)
    monkeypatch.undo()
    monkeypatch.setattr(model, "FORMAT", 2)
    with pytest.raises(config.UserError, match="its format is 1, this one's 2"):
        load_model("binary", 0, tmp_path)


def test_a_tree_of_another_scikit_learn_is_refused(models, tmp_path):
    tree = models["binary"].tree
    state = tree.__getstate__() | {"_sklearn_version": "0.20"}

    class Older(type(tree)):
        def __reduce__(self):
            return type(tree), (), state

    older = Older()
    older.__dict__.update(tree.__dict__)
    save_model(replace(models["binary"], tree=older), tmp_path)
    with pytest.raises(config.UserError, match="0.20"):
        load_model("binary", 0, tmp_path)


def test_a_file_under_another_name_is_refused(path, tmp_path):
    path.rename(model_path("multi", 3, tmp_path))
    with pytest.raises(config.UserError, match="holds the binary model of seed 0"):
        load_model("multi", 3, tmp_path)


@pytest.mark.root
def test_parity_ends_with_a_sentence_before_it_loads_anything(path, tmp_path, monkeypatch, capsys):
    path.write_bytes(path.read_bytes()[:1000])
    monkeypatch.setattr(pipeline, "MODELS", tmp_path)
    monkeypatch.setattr("ids_repro.kernel.program.Program.__init__", lambda *_: pytest.fail("a program was loaded"))
    assert main(["parity"]) == 2
    error = capsys.readouterr().err
    assert "cannot be read as a model" in error and "Traceback" not in error
