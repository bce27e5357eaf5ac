"""Fixtures of several rooms: the shipped capture, small models of it, a copy of the project, a check of the machine."""

import ctypes
import os
import platform
import shutil
import signal
import subprocess
from dataclasses import replace
from pathlib import Path

import pytest
from machine_state import interfaces, load_processes
from playwright.sync_api import sync_playwright
from project_copy import Project

from ids_repro import config
from ids_repro.cli import main
from ids_repro.data import dataset, packets
from ids_repro.models import pipeline
from ids_repro.models.detector import train
from ids_repro.models.model import Model
from ids_repro.models.scorers import Settings
from ids_repro.models.shape import Shape
from ids_repro.network.namespaces import leftovers

# In the background of a script, as with `nohup make test &`, SIGINT is ignored, also in what the tests start; and a
# SIGTERM would end pytest without its fixtures' ends.
for _number in (signal.SIGINT, signal.SIGTERM):
    signal.signal(_number, signal.default_int_handler)


CLONE_NEWNS = 0x20000  # of unshare(2): mounts


def pytest_configure() -> None:
    """Give the tests of root a BPF file system of their own: they neither see nor touch what is attached here."""
    if os.geteuid() or "PYTEST_XDIST_WORKER" in os.environ:
        return
    if not ctypes.CDLL(None).unshare(CLONE_NEWNS):  # else this root may do nothing else that these tests need either
        subprocess.run(["mount", "--make-rslave", "/"], check=True)
        subprocess.run(["mount", "-t", "bpf", "bpf", "/sys/fs/bpf"], check=True)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Refuse a test with a mark of root's tests that is not marked root: an ordinary user must not run it."""
    for item in items:
        marks = {mark.name for mark in item.iter_markers()}
        if marks & {"bpf", "beside", "quiet"} and "root" not in marks or {"beside", "quiet"} <= marks:
            raise pytest.UsageError(f"{item.nodeid} is marked {', '.join(sorted(marks))}: see pyproject.toml")


@pytest.fixture(scope="session")
def sample() -> packets.Capture:
    """Return the shipped capture."""
    return packets.read(config.SAMPLE)


@pytest.fixture(scope="session")
def everything(tmp_path_factory) -> dataset.Dataset:
    """Return a feature vector for each packet of the shipped capture."""
    table = tmp_path_factory.mktemp("dataset") / "lab.parquet"
    return dataset.prepare(config.SAMPLE, config.SAMPLE_LABELS, table)


@pytest.fixture(scope="session")
def flows(everything) -> dataset.Dataset:
    """Return one feature vector for each flow of the shipped capture."""
    return everything.sample()


@pytest.fixture(scope="session")
def models(flows) -> dict[str, Model]:
    """Return a quantized model for each task, trained for a moment on the shipped capture."""
    short = replace(config.PROFILES["smoke"], epochs=1, min_steps=500)
    return {task: pipeline.quantize_model(pipeline.train_model(flows, task, 0, short), flows) for task in config.TASKS}


@pytest.fixture(scope="session")
def detector(everything) -> Model:
    """Return a detector, trained for a moment on the shipped capture."""
    return train(everything, settings=Settings(Shape(tree_depth=8), epochs=1))


@pytest.fixture(scope="module")
def project(tmp_path_factory) -> Project:
    """Return a copy of the project, one for each test module."""
    return Project(tmp_path_factory.mktemp("copy") / "project")


@pytest.fixture(scope="session")
def browser():
    """Yield Chromium, without a window."""
    chromium = shutil.which("chromium")
    if not chromium and platform.freedesktop_os_release()["ID"] == "ubuntu":
        pytest.skip("Ubuntu has Chromium as a snap only")
    assert chromium, "chromium is missing: run 'make system-lab'"
    with sync_playwright() as playwright:
        started = playwright.chromium.launch(executable_path=chromium, args=["--no-sandbox"])
        yield started
        started.close()


@pytest.fixture
def nothing_left():
    """Check after the test that it left no namespace and no process, and this machine's network as it was."""
    before = interfaces()
    yield
    assert leftovers() == []
    assert load_processes() == []
    assert interfaces() == before


@pytest.fixture
def refused(capsys):
    """Run a command that has to fail with exit code 2; return its one sentence."""

    def run(*argv: str | Path) -> str:
        assert main([str(arg) for arg in argv]) == 2
        out, err = capsys.readouterr()
        assert out == ""
        assert err.startswith(f"ids_repro {argv[0]}: ")
        assert err.count("\n") == 1
        return err

    return run
