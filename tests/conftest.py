"""What several tests share: small models of the sample capture, copies of the project, and what a host's network is."""

import json
import os
import shutil
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import psutil
import pytest

from ids_repro import config
from ids_repro.cli import main
from ids_repro.data import dataset, packets
from ids_repro.models import pipeline
from ids_repro.models.int_tree import ALWAYS_LEFT, IntTree
from ids_repro.models.model import Model, save_model
from ids_repro.native.layouts import TREE_DEPTH, Q
from ids_repro.network.hosts import Host
from ids_repro.network.namespaces import leftovers

BLOCKED = 9  # the port that `port_tree` calls an attack
NOT_COPIED = (".*", "build", "executed", "tests", "__pycache__", "*.egg-info")
GENERATED = ("interim", "models", "raw", "results")  # in data/
# A profile for tests: everything once and small. It is appended to a copy's config.py, as a user would add one.
TINY = '\nPROFILES["{name}"] = Profile("{name}", (0,), 1, 500, 64, (10, 0), {trial_s}, 1, 3)\n'


@pytest.fixture(scope="session")
def sample() -> packets.Capture:
    """The committed capture."""
    return packets.read(config.SAMPLE)


@pytest.fixture(scope="session")
def flows(tmp_path_factory) -> dataset.Dataset:
    """One vector for each flow of the sample."""
    table = tmp_path_factory.mktemp("dataset") / "lab.parquet"
    return dataset.prepare(config.SAMPLE, config.SAMPLE.with_suffix(".csv"), table).sample()


@pytest.fixture(scope="session")
def models(flows) -> dict[str, Model]:
    """A quantized model for each task, trained for a moment on the sample."""
    short = replace(config.PROFILES["smoke"], epochs=1, min_steps=500)
    return {task: pipeline.quantize_model(pipeline.train_model(flows, task, 0, short), flows) for task in config.TASKS}


class Project:
    """A copy of the project without anything that was generated, to run commands in."""

    def __init__(self, root: Path) -> None:
        self.root = root
        shutil.copytree(config.ROOT, root, ignore=self._ignored)
        for path in (root / "figures").iterdir():
            if path.name not in ("README.md", "example"):
                path.unlink()

    @staticmethod
    def _ignored(folder: str, names: list[str]) -> set[str]:
        generated = GENERATED if Path(folder) == config.DATA else ()
        return shutil.ignore_patterns(*NOT_COPIED, *generated)(folder, names)

    def add_profile(self, name: str, trial_s: float) -> None:
        """Add a profile that trains little and sends for so long."""
        with (self.root / "ids_repro/config.py").open("a") as file:
            file.write(TINY.format(name=name, trial_s=trial_s))

    def save(self, models: dict[str, Model]) -> None:
        """Put models where notebook 03 puts them."""
        for model in models.values():
            save_model(model, self.root / "data/models")

    def popen(self, *argv: str | Path, cwd: Path | None = None, **kwargs) -> subprocess.Popen:
        """Start a program that imports the copy's ids_repro; a session of its own, like a terminal's foreground job."""
        return subprocess.Popen(
            [*map(str, argv)], cwd=cwd or self.root, env=os.environ | {"PYTHONPATH": str(self.root)},
            stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, start_new_session=True, **kwargs,
        )  # fmt: skip

    def run(self, *argv: str | Path, cwd: Path | None = None, timeout: float = 240) -> subprocess.CompletedProcess:
        """Run such a program to its end."""
        with self.popen(*argv, cwd=cwd) as process:
            out, err = process.communicate(timeout=timeout)
        return subprocess.CompletedProcess(argv, process.returncode, out, err)

    def cli(self, *argv: str | Path) -> subprocess.CompletedProcess:
        """Run ``python -m ids_repro``."""
        return self.run(sys.executable, "-m", "ids_repro", *argv)


@pytest.fixture(scope="module")
def project(tmp_path_factory) -> Project:
    """A copy of the project, one a module."""
    return Project(tmp_path_factory.mktemp("copy") / "project")


def port_tree(n_classes: int) -> IntTree:
    """A tree that calls packets to BLOCKED an attack and all others normal."""
    dport, size = 1, 1 << TREE_DEPTH
    normal, attack = (0, 1) if n_classes == 2 else (config.NORMAL, 2)
    tree = IntTree(np.full(size, ALWAYS_LEFT), np.zeros(size, np.uint8), np.full(size, normal, np.uint8))
    for node, limit in ((1, BLOCKED), (2, BLOCKED - 1)):  # dport <= 9, then dport <= 8
        tree.feature[node], tree.threshold[node] = dport, limit << Q
    tree.leaf[size // 4 : size // 2] = attack
    return tree


def interfaces() -> list[dict]:
    """This host's own interfaces and queueing disciplines, without counters."""
    links = subprocess.run(["ip", "-j", "-d", "link"], capture_output=True, check=True).stdout
    qdiscs = subprocess.run(["tc", "-j", "qdisc"], capture_output=True, check=True).stdout
    return json.loads(links) + json.loads(qdiscs)


def attachments(host: Host) -> list[dict]:
    """Everything XDP and TC on a host."""
    text = host.run(["ip", "-j", "-d", "link"], capture_output=True, check=True).stdout
    qdiscs = host.run(["tc", "-j", "qdisc"], capture_output=True, check=True).stdout
    programs = [entry["xdp"] for entry in json.loads(text) if "xdp" in entry]
    return programs + [entry for entry in json.loads(qdiscs) if entry["kind"] == "clsact"]


def alive(pid: int) -> bool:
    """Does it run still? A zombie does not."""
    try:
        return psutil.Process(pid).status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


def load_processes() -> list[str]:
    """Load generators and receivers that run now."""
    found = [p.info for p in psutil.process_iter(["name", "cmdline"]) if alive(p.pid)]
    agents = ["load_agent" for info in found if "ids_repro.sweep.load_agent" in (info["cmdline"] or ())]
    return agents + [i["name"] for i in found if (i["name"] or "").startswith(("hping3", "rawsock", "afxdp"))]


def until(condition, patience_s: float = 10.0) -> bool:
    """Wait for a condition; returns whether it came true."""
    end = time.monotonic() + patience_s
    while not condition():
        if time.monotonic() > end:
            return False
        time.sleep(0.02)
    return True


@pytest.fixture
def nothing_left():
    """Whatever the test does: afterwards no namespace and no process is left, and the host's network is as it was."""
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
