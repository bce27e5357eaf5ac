"""A lock lies where nobody else can write, follows no link, waits for a limited time and names who holds it."""

import os
import subprocess
import sys
import time

import pytest

from ids_repro import config, locks, records
from ids_repro.config import UserError

HOLD = """
import sys, time
from pathlib import Path
from ids_repro import locks
with locks.held(Path(sys.argv[1]), "x", run=Path(sys.argv[2])):
    print("held", flush=True)
    time.sleep(60)
"""


@pytest.fixture
def run(tmp_path):
    """A folder for locks."""
    return locks.run_folder(os.geteuid(), tmp_path / "run") if os.geteuid() == 0 else locks.run_folder()


@pytest.fixture
def holding(tmp_path, run):
    """Another process, which holds the lock on a folder."""
    argv = [sys.executable, "-c", HOLD, tmp_path, run]
    with subprocess.Popen(argv, stdout=subprocess.PIPE, text=True, cwd=config.ROOT) as process:
        assert process.stdout.readline() == "held\n"
        yield process
        process.kill()


def test_whoever_waits_too_long_is_told_for_whom(tmp_path, run, holding):
    (tmp_path / "link").symlink_to(tmp_path)
    begin = time.monotonic()
    words = rf"somebody measures \(process {holding.pid}, {sys.executable} -c .*\.\.\.\): wait for it or stop it"
    with pytest.raises(UserError, match=words), locks.held(tmp_path / "link", "somebody measures", 0.2, run):
        pass
    assert 0.2 <= time.monotonic() - begin < 5


def test_a_lock_is_free_when_its_process_is_killed_and_other_things_have_others(tmp_path, run, holding):
    other = tmp_path / "other"
    other.mkdir()
    with locks.held(other, "x", run=run):
        pass
    holding.kill()
    with locks.held(tmp_path, "x", 5, run):
        pass


def test_a_record_waits_for_a_limited_time_too(tmp_path, monkeypatch):
    path = tmp_path / "a.jsonl"
    monkeypatch.setattr(records, "PATIENCE_S", 0.1)
    with path.open("w") as file:
        locks.take(file.fileno(), "x")
        with pytest.raises(UserError, match=rf"another process writes records there \(process {os.getpid()}, "):
            records.append(path, "inference", {"task": "binary", "row": "a", "how": "b"}, {"ns_per_inference": [1]})


@pytest.mark.root
@pytest.mark.parametrize("what", ["link", "file", "other user", "open to others"])
def test_a_folder_that_somebody_else_made_is_refused_and_one_that_is_open_is_closed(tmp_path, what):
    folder, target = tmp_path / "run", tmp_path / "target"
    target.mkdir()
    if what == "link":
        folder.symlink_to(target)
    elif what == "file":
        folder.write_text("")
    else:
        folder.mkdir(mode=0o755)
        os.chown(folder, 65534 if what == "other user" else 0, 0)
    if what == "open to others":
        assert locks.run_folder(0, folder).stat().st_mode & 0o777 == 0o700
        return
    words = "belongs to another user" if what == "other user" else "a link or a file, not a folder"
    with pytest.raises(UserError, match=f"{folder} .*{words}.*: remove it as root"):
        locks.run_folder(0, folder)
    assert list(target.iterdir()) == []


def test_a_link_in_the_place_of_a_lock_is_refused_and_its_target_stays(tmp_path, run):
    (tmp_path / "precious").write_text("keep")
    for path in (run / "lock", run / "journal"):
        path.symlink_to(tmp_path / "precious")
        with pytest.raises(UserError, match="cannot be opened"):
            locks.opened(path)
        with pytest.raises(UserError, match="cannot be opened"):
            locks.open_locked(path, "x")
        path.unlink()
    assert (tmp_path / "precious").read_text() == "keep"


def test_a_file_that_was_removed_while_one_waited_for_it_is_made_again(run):
    path = run / "some.jsonl"
    first = locks.open_locked(path, "x")
    first.write("left\n")
    first.flush()
    path.unlink()
    first.close()
    with locks.open_locked(path, "x", 1) as second:
        assert second.read() == ""
        assert os.path.samestat(os.fstat(second.fileno()), path.stat())
    path.unlink()


def test_the_folder_depends_on_nothing_that_differs_between_two_shells(monkeypatch, tmp_path):
    before = locks.run_folder()
    for name in ("TMPDIR", "XDG_RUNTIME_DIR", "HOME"):
        monkeypatch.setenv(name, str(tmp_path))
    assert locks.run_folder() == before
    assert before.stat().st_mode & 0o777 == 0o700 and before.stat().st_uid == os.geteuid()
