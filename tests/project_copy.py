"""A copy of the project to run commands in; fixture `project` of conftest.py makes one for each test module."""

import os
import shutil
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

from machine_state import heed_signals

from ids_repro import config
from ids_repro.models.model import Model
from ids_repro.models.model_file import save_model

NOT_COPIED = (".*", "build", "executed", "tests", "__pycache__", "*.egg-info")
GENERATED = ("interim", "models", "raw", "results")  # in data/
# A profile for tests: everything once and small. It is appended to a copy's config.py, as a user would add one.
TINY = '\nPROFILES["{name}"] = Profile("{name}", (0,), 1, 500, 64, (10, 0), {trial_s}, 1, 3)\n'
SHORT_SWEEP = """
PROFILES["{name}"] = Profile("{name}", (0,), 1, 500, 64, (0,), 0.1, 1, 1, rates_pps=(50_000,), methods="{methods}")
"""


class Project:
    """A copy of the project without generated files.

    Parameters
    ----------
    root : Path
        Folder of the copy. It must not exist yet.
    """

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
        """Add a profile that trains little and whose trials last `trial_s` seconds."""
        with (self.root / "ids_repro/config.py").open("a") as file:
            file.write(TINY.format(name=name, trial_s=trial_s))

    def add_short_sweep(self, profile: str, methods: Sequence[str]) -> None:
        """Add a profile whose sweep has two trials of 0.1 s for each of these methods."""
        with (self.root / "ids_repro/config.py").open("a") as file:
            file.write(SHORT_SWEEP.format(name=profile, methods=",".join(methods)))

    def save(self, models: dict[str, Model]) -> None:
        """Write models to the folder where notebook 03 writes them."""
        for model in models.values():
            save_model(model, self.root / "data/models")

    def popen(self, *argv: str | Path, cwd: Path | None = None, **kwargs) -> subprocess.Popen:
        """Start a program that imports the copy's ids_repro, in a session of its own as a terminal's job has one."""
        return subprocess.Popen(
            [*map(str, argv)], cwd=cwd or self.root, env=os.environ | {"PYTHONPATH": str(self.root)},
            stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, start_new_session=True, preexec_fn=heed_signals,
            **kwargs,
        )  # fmt: skip

    def run(self, *argv: str | Path, cwd: Path | None = None, timeout: float = 240) -> subprocess.CompletedProcess:
        """Run such a program to its end."""
        with self.popen(*argv, cwd=cwd) as process:
            out, err = process.communicate(timeout=timeout)
        return subprocess.CompletedProcess(argv, process.returncode, out, err)

    def cli(self, *argv: str | Path) -> subprocess.CompletedProcess:
        """Run ``python -m ids_repro``."""
        return self.run(sys.executable, "-m", "ids_repro", *argv)
