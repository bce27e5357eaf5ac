"""An ordinary user without sudo: `make reproduce` says at once what is left out, and makes the report all the same.

Covers what `tests/cli/test_cli.py` does not: a whole run, in a copy of the project that the user owns.
"""

import os
import re
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

import pandas as pd
import pytest
from project_copy import Project

from ids_repro import config, records, stages

USER = 12_346  # nobody's number on this machine
DROP = ("setpriv", "--reuid", str(USER), "--regid", str(USER), "--clear-groups", "--no-new-privs")
# The profile of the shipped records, once and small.
SMALL = '\nPROFILES["smoke"] = Profile("smoke", (0,), 1, 500, 64, (10, 0), 0.3, 1, 3)\n'


@pytest.fixture(scope="module")
def home():
    """Yield a copy of the project that belongs to an ordinary user, whose home it is too."""
    if subprocess.run([*DROP, "test", "-x", sys.executable]).returncode:
        pytest.skip("this .venv lies where other users cannot read it")
    with tempfile.TemporaryDirectory() as folder:  # not pytest's, which lets nobody else in
        Path(folder).chmod(0o755)
        project = Project(Path(folder, "project"))
        with (project.root / "ids_repro/config.py").open("a") as file:
            file.write(SMALL)
        (project.root / ".venv").symlink_to(Path(sys.executable).parents[1])
        for path in (project.root, *project.root.rglob("*")):
            os.chown(path, USER, USER, follow_symlinks=False)
        yield project.root


def as_user(root: Path, *argv: str) -> subprocess.CompletedProcess:
    """Run a program as that user, who has no sudo and whose PATH lacks /usr/sbin."""
    (root / "bin").mkdir(exist_ok=True)
    for name in ("make", "bash", "sed", "setpriv", "env", "uname", "id", "dpkg-query", "grep", "tr", "echo", "true"):
        if not (root / "bin" / name).exists():
            (root / "bin" / name).symlink_to(shutil.which(name))
    for path in (root / "bin", *(root / "bin").iterdir()):
        os.chown(path, USER, USER, follow_symlinks=False)
    path = f"{root}/bin:{Path(shutil.which('cc')).parent}"
    environment = {"PATH": path, "HOME": str(root), "PYTHONPATH": str(root)}
    return subprocess.run([*DROP, *argv], cwd=root, env=environment, capture_output=True, text=True, timeout=900)


@pytest.mark.root
@pytest.mark.beside
def test_reproduce_without_root_ends_with_a_report_that_says_what_was_not_measured_here(home):
    # .venv is there already, so that make need not make it.
    done = as_user(home, "make", "-o", ".venv/.stamp", "SUDO=false", "reproduce")
    assert done.returncode == 0, done.stderr
    first, *rest = done.stdout.splitlines()
    assert first == f"Without root or sudo this is left out: {stages.LEFT_OUT}"
    ran = [line.split(": ")[:2] for line in rest if re.match(r"\d\d_", line)]
    assert ran == [[stage.name, "runs"] for stage in stages.STAGES if stage.name != "05_packet_processing"]
    table = pd.read_csv(home / "figures/table2.csv")
    marked = {row: name.endswith(" ‡") for row, name in zip(table["row"], table["name"], strict=True)}
    assert marked["nn_q16_kernel"] and marked["dt_kernel"] and not marked["nn_q16_c"] and not marked["dt_c"]
    assert table[table["row"] == "nn_q16_kernel"]["ours"].notna().any()
    report = (home / "figures/report.html").read_text()
    (said,) = re.findall(r"Not all of this was measured here.</strong>([^<]*)<", report)
    assert {"sweep", "kernel_cost", "flow_churn", "constraint", "end_to_end"} <= set(re.findall(r"\w+", said))
    assert "a record that comes with the project" in (home / "figures/throughput.md").read_text()
    kinds = {record["kind"] for record in records.read(home / "data/results")}
    assert "sweep" not in kinds and "kernel_cost" not in kinds, "what is shipped is not copied"


@pytest.mark.root
@pytest.mark.beside
def test_a_second_run_runs_nothing_and_root_would_measure_what_was_left_out(home):
    done = as_user(home, "make", "-o", ".venv/.stamp", "SUDO=false", "reproduce")
    assert done.returncode == 0, done.stderr
    assert {line.split(": ")[1] for line in done.stdout.splitlines() if re.match(r"\d\d_", line)} == {"skipped"}
    code = """
from ids_repro import stages
stage = stages.choose(["04"])[0]
print(stages.what_changed(stage, stages.fingerprint(stage, {"profile": "smoke"})))"""
    assert as_user(home, sys.executable, "-c", code).stdout == "changed: parameter kernel\n"


@pytest.mark.root
@pytest.mark.beside
def test_what_needs_root_alone_is_refused_and_no_file_of_the_project_is_roots(home):
    done = as_user(home, sys.executable, "-m", "ids_repro", "reproduce", "--only", "05")
    assert done.returncode == 2 and "notebook 05_packet_processing needs root" in done.stderr
    assert {path.lstat().st_uid for path in home.rglob("*")} == {USER}


def test_the_makefile_prints_the_line_of_the_package():
    line = re.search(r'^LEFT_OUT = "(.*)"$', Path(stages.__file__).read_text(), re.MULTILINE)
    assert line[1] == stages.LEFT_OUT and "05" in stages.LEFT_OUT
    assert "ids_repro/stages.py" in (config.ROOT / "Makefile").read_text()
