"""A machine is watched until its program ends, and never outlives the one who watches. A shell stands for QEMU."""

import os
import subprocess
import sys
import time

import psutil
import pytest
from kernels import machine

from ids_repro.config import ROOT, UserError


def run(tmp_path, script, limit_s=20.0):
    return list(machine.lines(["sh", "-c", script], limit_s, tmp_path / "console"))


def alive(pid):
    return psutil.pid_exists(pid) and psutil.Process(pid).status() != psutil.STATUS_ZOMBIE


def gone(pid, patience_s=5.0):
    end = time.monotonic() + patience_s
    while alive(pid) and time.monotonic() < end:
        time.sleep(0.02)
    return not alive(pid)


def test_lines_come_whole_and_without_the_serial_lines_carriage_returns(tmp_path):
    assert run(tmp_path, r"printf 'one\r\ntw'; sleep 0.1; printf 'o\r\nended: 0\r\n'; sleep 20") == ["one", "two"]


@pytest.mark.parametrize(
    ("script", "words"),
    [
        ("echo ended: 3", "exit code 3"),
        ("echo one", "ended before its program did"),
        ("sleep 30", "did not end within 0 s"),
        ("while echo busy; do sleep 0.05; done", "did not end within 0 s"),
    ],
)
def test_a_machine_that_fails_or_hangs_is_refused_with_the_end_of_its_console(tmp_path, script, words):
    (tmp_path / "console").write_text("first\n" + "more\n" * 20 + "Kernel panic\n")
    with pytest.raises(UserError, match=words) as error:
        run(tmp_path, script, limit_s=0.4)
    assert "Kernel panic" in str(error.value) and "first" not in str(error.value)


def test_a_machine_that_says_nothing_is_started_again(tmp_path):
    """It marks that it was started, and says something from the third start on."""
    script = f"cd {tmp_path}; echo >> starts; [ $(wc -l < starts) -ge 3 ] || sleep 30; echo up; echo ended: 0"
    assert list(machine.lines(["sh", "-c", script], 20.0, tmp_path / "console", boot_s=0.3)) == ["up"]


def test_a_machine_ends_with_the_reader(tmp_path):
    reader = machine.lines(["sh", "-c", "echo $$; exec sleep 30"], 20.0, tmp_path / "console")
    pid = int(next(reader))
    reader.close()
    assert gone(pid)


def test_a_machine_does_not_survive_a_killed_command(tmp_path):
    """As the real one it is started through setpriv."""
    argv = [*machine.QEMU[:3], "sh", "-c", "echo $$; exec sleep 30"]
    code = "import pathlib, sys; from kernels import machine\n"
    code += f"for line in machine.lines({argv!r}, 20.0, pathlib.Path('none')): print(line, flush=True)"
    env = os.environ | {"PYTHONPATH": f"{ROOT}:{ROOT / 'tests'}"}
    with subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, env=env) as watcher:
        pid = int(watcher.stdout.readline())
        watcher.kill()
    assert gone(pid)


def test_what_a_machine_writes_to_its_disks_is_not_kept(tmp_path):
    argv = machine.command({"folder": tmp_path}, tmp_path / "disk", tmp_path / "project", tmp_path / "console")
    drives = [value for option, value in zip(argv, argv[1:], strict=False) if option == "-drive"]
    assert len(drives) == 2 and all(value.endswith("snapshot=on") for value in drives)
    assert argv[: len(machine.QEMU)] == [*machine.QEMU]
