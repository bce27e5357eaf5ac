"""Each command runs with exactly the capabilities that the README lists for it, and names the one that is missing.

tests/live/test_rights.py has the commands of a program on an interface.
"""

import os
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest
from command_lines import write_captures
from project_copy import Project
from rights import NOBODY, only, require_readable

from ids_repro.cli import COMMANDS as ADD_COMMANDS
from ids_repro.models import detector as detectors
from ids_repro.models.model_file import save_model
from ids_repro.require import CAPABILITIES, COMMANDS, FOR_BPF
from ids_repro.sweep.methods import METHODS

pytestmark = [pytest.mark.root, pytest.mark.bpf]
# A method for each place where packets are taken. DPDK needs CAP_IPC_LOCK too: its buffers are above the limit of 8 MB.
MODES = {method.mode: name for name, method in METHODS.items() if method.mode != "dpdk"}
RUNS = {
    "parity": ("parity", "--n", "100", "--pcap", "a.pcap"),
    "accuracy": ("accuracy", "--seeds", "1", "--data", "a.pcap", "--labels", "a.csv"),
    "bench": ("bench", "--rounds", "1"),
    "sweep": ("sweep", "--profile", "short", "--methods", ",".join(MODES.values())),
    "record": ("record", "--seconds", "2"),
    "reproduce": ("reproduce", "--profile", "short", "--only", "05"),
}


@pytest.fixture(scope="module")
def copy(models, detector):
    """A copy of the project that an ordinary user owns, with models and a profile for a short sweep."""
    with tempfile.TemporaryDirectory() as folder:
        Path(folder).chmod(0o755)
        project = Project(Path(folder) / "project")
        write_captures(project.root)
        project.add_short_sweep("short", ["no_filter", "xdp_drv_nn_fused"])
        with (project.root / "ids_repro/config.py").open("a") as file:
            file.write('PROFILES["smoke"] = PROFILES["short"]\n')  # by which `accuracy` trains
        project.save(models)
        save_model(detector, project.root / "data/models").rename(
            project.root / detectors.PATH.relative_to(detectors.PATH.parents[2])
        )
        yield project


def run(project: Project, command: str, held: tuple[str, ...]) -> tuple[int, str]:
    """Run a command with some capabilities, as root if it needs root; return its exit code and what it said."""
    require_readable(project.root)
    user = 0 if COMMANDS[command].root else NOBODY
    for one in (project.root, *project.root.rglob("*")):  # without CAP_DAC_OVERRIDE, root too writes to its own only
        os.chown(one, user, user, follow_symlinks=False)
    argv = [*only(held, user), sys.executable, "-B", "-m", "ids_repro"]
    there = os.environ | {"PYTHONPATH": str(project.root), "HOME": str(project.root)}
    done = subprocess.run([*argv, *RUNS[command]], cwd=project.root, env=there, capture_output=True, text=True)
    return done.returncode, done.stderr


def test_every_command_that_needs_something_is_tried():
    live = {"attach", "status", "swap", "samples", "detach"}
    assert {*RUNS, *live} == set(COMMANDS) and {COMMANDS[one] for one in live} == {COMMANDS["bench"]}
    assert {f"add_{name}" for name in COMMANDS} <= {add.__name__ for add in ADD_COMMANDS}
    assert {one for needs in COMMANDS.values() for one in needs.capabilities} <= set(CAPABILITIES)


@pytest.mark.parametrize("command", RUNS)
def test_exactly_what_the_readme_lists_is_enough(copy, nothing_left, command):
    code, said = run(copy, command, COMMANDS[command].capabilities)
    assert code == 0, said[-1000:]


@pytest.mark.parametrize(("command", "missing"), [(name, one) for name in RUNS for one in COMMANDS[name].capabilities])
def test_the_capability_that_is_missing_is_named(copy, command, missing):
    # CAP_SYS_ADMIN stands for these two, as in the kernel.
    also = {"CAP_SYS_ADMIN"} if missing in ("CAP_BPF", "CAP_PERFMON") else set()
    code, said = run(copy, command, tuple({*COMMANDS[command].capabilities} - {missing} - also))
    assert code == 2 and said.count("\n") == 1 and "Traceback" not in said
    remedy = "root is denied that here" if COMMANDS[command].root else f"give it {', '.join(FOR_BPF)} as README.md says"
    assert f"needs {missing} ({CAPABILITIES[missing][1]})" in said and remedy in said


@pytest.mark.parametrize("command", [name for name, needs in COMMANDS.items() if needs.root])
def test_an_ordinary_user_is_told_of_root_where_capabilities_do_not_suffice(copy, command):
    argv = [*only(COMMANDS[command].capabilities), sys.executable, "-B", "-m", "ids_repro", *RUNS[command]]
    there = os.environ | {"PYTHONPATH": str(copy.root)}
    done = subprocess.run(argv, cwd=copy.root, env=there, capture_output=True, text=True)
    assert done.returncode == 2 and "needs root" in done.stderr and done.stderr.count("\n") == 1
