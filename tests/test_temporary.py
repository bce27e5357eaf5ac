"""Temporary files go with their process, and those of a killed one with the next start."""

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from ids_repro import temporary

CODE = """
import subprocess, sys, tempfile
from ids_repro.temporary import use_own_folder
use_own_folder()
use_own_folder()
tempfile.mkdtemp()
subprocess.run(["mktemp"], stdout=subprocess.DEVNULL, check=True)
if "wait" in sys.argv:
    print("ready", flush=True)
    sys.stdin.read()
"""


def start(place: Path, *words: str) -> subprocess.Popen:
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "text": True}
    return subprocess.Popen([sys.executable, "-c", CODE, *words], env=os.environ | {"TMPDIR": str(place)}, **pipes)


def test_what_a_process_and_its_children_made_goes_with_it(tmp_path):
    with start(tmp_path, "wait") as process:
        assert process.stdout.readline() == "ready\n"
        (folder,) = tmp_path.iterdir()
        assert len(list(folder.iterdir())) == 2 and folder.stat().st_mode & 0o7777 == 0o1733
    assert process.returncode == 0 and list(tmp_path.iterdir()) == []


def test_after_kill_9_the_next_start_removes_it_and_nothing_of_who_lives(tmp_path):
    with start(tmp_path, "wait") as alive, start(tmp_path, "wait") as killed:
        assert [one.stdout.readline() for one in (alive, killed)] == ["ready\n"] * 2
        killed.send_signal(signal.SIGKILL)
        killed.wait()
        assert len(list(tmp_path.iterdir())) == 2
        with start(tmp_path) as third:
            third.communicate()
        (folder,) = tmp_path.iterdir()
        assert len(list(folder.iterdir())) == 2


@pytest.mark.root
def test_a_folder_of_somebody_else_a_link_and_a_file_stay(tmp_path):
    foreign, file, target, link = (tmp_path / f"{temporary.PREFIX}{name}" for name in ("a", "b", "c", "d"))
    foreign.mkdir()
    os.chown(foreign, 65534, 65534)
    file.write_text("")
    target = tmp_path / "target"
    target.mkdir()
    link.symlink_to(target)
    before = sorted(tmp_path.iterdir())
    with start(tmp_path) as process:
        process.communicate()
    assert process.returncode == 0 and sorted(tmp_path.iterdir()) == before


def test_many_starts_at_once_never_take_each_others_folder(tmp_path):
    processes = [start(tmp_path) for _ in range(12)]
    assert [process.wait() for process in processes] == [0] * 12
    assert list(tmp_path.iterdir()) == []


def test_without_room_the_work_goes_on(tmp_path):
    with start(tmp_path / "missing") as process:
        process.communicate()
    assert process.returncode == 0


def test_on_a_file_system_without_locks_all_stays_as_it_is(tmp_path):
    without = "import errno, fcntl, os\ndef flock(*_): raise OSError(errno.ENOLCK, os.strerror(errno.ENOLCK))\n"
    code = without + "fcntl.flock = flock" + CODE.replace("use_own_folder()\nuse_own_folder()", "use_own_folder()")
    environment = os.environ | {"TMPDIR": str(tmp_path)}
    done = subprocess.run([sys.executable, "-c", code], env=environment, timeout=30)
    assert done.returncode == 0
    assert len(list(tmp_path.iterdir())) == 2 and not list(tmp_path.glob(f"{temporary.PREFIX}*"))
