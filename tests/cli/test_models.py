"""models show prints what is in a model's file, and refuses what is none."""

import json
from dataclasses import replace

import pytest

from ids_repro import config
from ids_repro.cli import main
from ids_repro.models.model_file import describe, save_model


@pytest.mark.parametrize("task", config.TASKS)
def test_models_show_prints_what_is_in_a_file(models, tmp_path, capsys, task):
    path = save_model(models[task], tmp_path)
    assert main(["models", "show", str(path), "--json"]) == 0
    assert json.loads(capsys.readouterr().out) == describe(path)
    assert main(["models", "show", str(path)]) == 0
    said = capsys.readouterr().out
    assert said.startswith(f"{path}: a model of format 3, {path.stat().st_size:,} bytes\n")
    for part in (
        task,
        *config.TASKS[task],
        models[task].sha256(),
        models[task].data_sha256,
        f"12-16-16-{models[task].n_classes}",
    ):
        assert part in said
    assert "depth 5" in said and "nn_q16 1,568 bytes, nn_fused 3,592 bytes, dt 32,776 bytes" in said
    assert "detector" not in said


def test_models_show_tells_a_float_model_and_a_detector(models, detector, tmp_path, capsys):
    floats = save_model(replace(models["binary"], twins=None), tmp_path)
    assert main(["models", "show", str(floats)]) == 0
    assert "none yet: run notebook 03" in capsys.readouterr().out
    assert main(["models", "show", str(save_model(detector, tmp_path))]) == 0
    said = capsys.readouterr().out
    for name, seen in detector.detector.items():
        flags = f"score {detector.twins[name].flag_at} flags a flow: {seen.false_alarms:.3%} of normal flows"
        assert f"detector {name}" in said and flags in said
    assert "budget 1.000%" in said and "learning_rate" in said


def test_models_show_refuses_what_is_no_model(refused, tmp_path):
    path = tmp_path / "binary-0.npz"
    assert "there is no such file" in refused("models", "show", path)
    path.write_text("accuracy = 1.0")
    assert "run notebooks 02 and 03 again" in refused("models", "show", path)


@pytest.mark.parametrize("argv", [("models",), ("models", "show"), ("models", "run", "x.npz")])
def test_models_needs_what_to_do_and_a_file(argv):
    with pytest.raises(SystemExit) as end:
        main(argv)
    assert end.value.code == 2
