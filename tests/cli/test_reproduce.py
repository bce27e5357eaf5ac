"""reproduce and figures refuse at once what they cannot do: wrong names, a program or a model that is missing."""

import pytest


def test_names_that_do_not_exist(refused):
    assert "there is no profile 'huge': use one of smoke, evening, paper" in refused("reproduce", "--profile", "huge")
    assert "no notebook begins with 08; there are 01_dataset, " in refused("reproduce", "--only", "08")


@pytest.mark.root
def test_a_program_that_is_not_installed(refused, monkeypatch, tmp_path):
    monkeypatch.setenv("PATH", str(tmp_path))
    assert "'cc' is not installed: run 'make system'" in refused("reproduce", "--only", "05")


@pytest.mark.root
def test_models_that_are_not_there(project):
    done = project.cli("reproduce", "--only", "05")
    assert done.returncode == 2
    assert "binary-0.npz: there is no such model yet; run notebooks 02 and 03 first" in done.stderr
    assert "Traceback" not in done.stderr


def test_figures_without_records_writes_nothing(refused, tmp_path):
    said = refused("figures", "--results", tmp_path / "results", "--figures", tmp_path / "figures")
    assert f"{tmp_path / 'results'}: no record of a finished trial" in said
    assert list(tmp_path.iterdir()) == []
