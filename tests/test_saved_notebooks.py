"""A notebook that was run and saved changes nothing for git, so neither for the records nor for `make lint`."""

import shutil
import subprocess
import sys

import nbformat
import pytest

from ids_repro.config import ROOT
from ids_repro.provenance import provenance

NAME = "notebooks/01_dataset.ipynb"
OUT = ("out.ipynb", *(f"notebooks/{name}.ipynb" for name in ("executed/01_dataset", "Untitled", "01_dataset-Copy1")))
# What JupyterLab writes into a notebook besides the outputs.
LANGUAGE = {"codemirror_mode": {"name": "ipython", "version": 3}, "file_extension": ".py", "version": "3.11.2"}
LANGUAGE |= {"mimetype": "text/x-python", "name": "python", "pygments_lexer": "ipython3"}


@pytest.fixture
def checkout(tmp_path):
    """Return a checkout with one notebook and an environment, as `make venv` leaves it."""
    root = tmp_path / "checkout"
    (root / "notebooks").mkdir(parents=True)
    locks = (path.name for path in ROOT.glob("*.lock"))
    for name in (NAME, "Makefile", ".gitignore", ".gitattributes", "pyproject.toml", *locks):
        shutil.copy(ROOT / name, root / name)
    (root / ".venv/bin").mkdir(parents=True)
    (root / ".venv/bin/python").write_text(f'#!/bin/sh\nexec "{sys.executable}" "$@"\n')
    (root / ".venv/bin/python").chmod(0o755)
    (root / ".venv/.stamp").touch()
    git(root, "init", "-q")
    run(root, "make", "-s", "venv")
    git(root, "add", "-A")
    git(root, "commit", "-q", "-m", "first")
    return root


def run(root, *argv):
    """Run a command in a folder; return what it printed."""
    done = subprocess.run(argv, cwd=root, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return done.stdout


def git(root, *argv):
    """Run git in a folder; return what it printed."""
    return run(root, "git", "-c", "user.name=a", "-c", "user.email=a@example.org", *argv)


def save(path, source=None):
    """Change a notebook as JupyterLab does when it was run and is saved."""
    book = nbformat.read(path, as_version=4)
    for n, cell in enumerate(cell for cell in book.cells if cell.cell_type == "code"):
        cell.execution_count = n + 1
        cell.outputs = [nbformat.v4.new_output("stream", name="stdout", text="done")]
        cell.metadata["execution"] = {"iopub.status.busy": "2026-01-01T00:00:00Z"}
    book.metadata["language_info"] = LANGUAGE
    book.metadata["widgets"] = {"application/vnd.jupyter.widget-state+json": {"state": {}, "version_major": 2}}
    book.cells[1].source = source or book.cells[1].source
    nbformat.write(book, path)


def test_a_notebook_that_was_run_and_saved_is_no_change(checkout):
    save(checkout / NAME)
    for name in OUT:
        (checkout / name).parent.mkdir(exist_ok=True)
        (checkout / name).write_text("{}")
    assert provenance(checkout)["dirty"] is False
    git(checkout, "add", "-A")
    assert git(checkout, "status", "--porcelain") == ""


def test_other_code_in_a_notebook_is_a_change_and_is_kept_without_its_outputs(checkout):
    save(checkout / NAME, "profile = 'paper'")
    assert provenance(checkout)["dirty"] is True
    git(checkout, "add", "-A")
    (stored,) = (cell for cell in nbformat.reads(git(checkout, "show", f":{NAME}"), 4).cells[1:2])
    assert (stored.source, stored.outputs, stored.execution_count) == ("profile = 'paper'", [], None)


def test_what_made_a_record_is_told_without_the_filter_which_starts_a_python_for_each_notebook(checkout, tmp_path):
    (checkout / NAME).touch()  # as after a new checkout: git has to look into it
    git(checkout, "config", "filter.nbstripout.clean", f"touch {tmp_path / 'called'}; cat")
    assert provenance(checkout)["dirty"] is False and not (tmp_path / "called").exists()
    git(checkout, "status")
    assert (tmp_path / "called").exists()


def test_lint_looks_at_what_git_keeps(checkout):
    """The recipe's line about notebooks is what can fail here; the other lines look at files that are not copied."""
    (line,) = (line for line in run(checkout, "make", "-n", "-o", "system", "lint").splitlines() if "--verify" in line)
    save(checkout / NAME)
    run(checkout, "bash", "-ec", line)
    git(checkout, "config", "--unset", "filter.nbstripout.clean")
    git(checkout, "add", "-A")
    done = subprocess.run(["bash", "-ec", line], cwd=checkout, capture_output=True, text=True)
    assert done.returncode == 1 and "would have stripped" in done.stdout


def test_the_filter_is_set_once_and_where_there_is_no_git_nothing_is(checkout):
    before = (checkout / ".git/config").stat()
    run(checkout, "make", "-s", "venv")
    after = (checkout / ".git/config").stat()
    assert (after.st_mtime_ns, after.st_ino) == (before.st_mtime_ns, before.st_ino)
    shutil.rmtree(checkout / ".git")
    assert run(checkout, "make", "-s", "venv") == ""
