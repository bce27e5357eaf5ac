"""Provenance names the code and the machine; without git, a compiler or a commit it says null."""

import platform
import subprocess
from pathlib import Path

import pytest

from ids_repro import config
from ids_repro.provenance import checkout_sha256, provenance


def git(folder: Path, *arguments: str) -> str:
    """Run git in a folder; return what it printed."""
    identity = ("-c", "user.name=a", "-c", "user.email=a@example.org")
    done = subprocess.run(["git", *identity, *arguments], cwd=folder, capture_output=True, text=True, check=True)
    return done.stdout.strip()


@pytest.fixture
def repository(tmp_path) -> Path:
    """A repository with one commit."""
    root = tmp_path / "repository"
    root.mkdir()
    git(root, "init", "-q")
    git(root, "commit", "-q", "--allow-empty", "-m", "first")
    return root


def test_it_says_what_and_where_but_not_whose():
    made = provenance()
    assert {"commit", "dirty", "version", "kernel", "compiler", "cpu", "cpus", "ram_bytes", "python"} <= set(made)
    assert platform.node() not in made.values()


def test_a_commit_and_whether_files_changed_since(repository):
    made = provenance(repository)
    assert (made["commit"], made["dirty"]) == (git(repository, "rev-parse", "HEAD"), False)


def test_a_new_file_makes_the_checkout_dirty(repository):
    (repository / "new").touch()
    assert provenance(repository)["dirty"] is True


def test_git_is_asked_once_a_process(repository):
    first = provenance(repository)
    git(repository, "commit", "-q", "--allow-empty", "-m", "second")
    assert provenance(repository)["commit"] == first["commit"]


def test_without_git_or_compiler_they_are_null(repository, monkeypatch, tmp_path):
    monkeypatch.setenv("PATH", str(tmp_path))
    made = provenance(repository)
    assert made["commit"] is None and made["dirty"] is None and made["compiler"] is None


def test_a_copy_inside_another_repository_has_no_commit(repository):
    (repository / "copy").mkdir()
    assert provenance(repository / "copy")["commit"] is None


def test_the_hash_of_a_checkout_is_of_all_its_python_and_c_and_of_nothing_else(tmp_path):
    for name in (
        "ids_repro/config.py",
        "ids_repro/data/labels/source.py",
        "bpf/ids.h",
        "bpf/user/table.c",
        "README.md",
    ):
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(name)
    before = checkout_sha256(tmp_path)
    (tmp_path / "README.md").write_text("another")
    assert checkout_sha256(tmp_path) == before
    found = {before}
    for name in ("ids_repro/data/labels/source.py", "bpf/user/table.c"):
        (tmp_path / name).write_text("another")
        found.add(checkout_sha256(tmp_path))
    (tmp_path / "bpf/ids.h").rename(tmp_path / "bpf/ids2.h")
    found.add(checkout_sha256(tmp_path))
    assert len(found) == 4
    assert checkout_sha256() == checkout_sha256(config.ROOT)
