"""A file is written whole or not at all, never over an input, and a killed run leaves nothing that stays."""

import os
import signal
import socket
import subprocess
import sys
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from machine_state import until

from ids_repro import config
from ids_repro.config import UserError
from ids_repro.files import PREFIX, private_folder, replaced, require_file, require_output


def test_the_file_is_replaced_when_the_block_ends_and_nothing_else_is_touched(tmp_path):
    path = tmp_path / "new/a.npz"
    path.parent.mkdir()
    path.write_text("old")
    (tmp_path / "new/a.part").write_text("somebody else's")
    with replaced(path) as file:
        file.write(b"new")
        assert path.read_text() == "old"
        assert Path(file.name).suffix == ".npz"
    assert path.read_text() == "new" and (tmp_path / "new/a.part").read_text() == "somebody else's"
    assert {one.name for one in path.parent.iterdir()} == {"a.npz", "a.part"}


def test_a_new_file_has_the_mode_that_the_user_asks_of_new_files_and_an_old_one_keeps_its_own(tmp_path):
    old = os.umask(0o027)
    try:
        (tmp_path / "old").touch()
        (tmp_path / "old").chmod(0o604)
        for name, mode in (("new", 0o640), ("old", 0o604)):
            with replaced(tmp_path / name):
                pass
            assert (tmp_path / name).stat().st_mode & 0o777 == mode
    finally:
        os.umask(old)


@pytest.mark.root
def test_a_file_of_another_user_stays_theirs(tmp_path):
    (tmp_path / "a").touch()
    os.chown(tmp_path / "a", 65534, 65534)
    with replaced(tmp_path / "a"):
        pass
    assert ((tmp_path / "a").stat().st_uid, (tmp_path / "a").stat().st_gid) == (65534, 65534)


def test_a_block_that_fails_changes_nothing(tmp_path):
    (tmp_path / "a").write_text("old")
    with pytest.raises(ZeroDivisionError), replaced(tmp_path / "a") as file:
        file.write(b"half" * (1 // 0))
    assert [one.read_text() for one in tmp_path.iterdir()] == ["old"]


def test_what_was_written_stays_if_the_caller_says_so(tmp_path):
    with pytest.raises(KeyboardInterrupt), replaced(tmp_path / "a", keep=True) as file:
        file.write(b"half")
        raise KeyboardInterrupt
    assert [(one.name, one.read_text()) for one in tmp_path.iterdir()] == [("a", "half")]


def test_a_path_that_cannot_be_written_is_one_sentence_that_names_what_is_in_the_way(tmp_path):
    (tmp_path / "file").write_text("x")
    for path, why in (
        (tmp_path / "file/a", "Not a directory"),
        (tmp_path / "file/b/c", "Not a directory"),
        (tmp_path / ("a" * 256), "File name too long"),
        (Path("/proc/none/a"), "/proc/none: No such file or directory"),
    ):
        with pytest.raises(UserError) as refused, replaced(path):
            pass
        assert str(refused.value) == f"{path}: cannot be written ({why}); give another file"
    assert [one.name for one in tmp_path.iterdir()] == ["file"]


def test_the_longest_name_can_be_written(tmp_path):
    for name in ("a" * 255, "." + "é" * 127, "a." + "b" * 253):
        with replaced(tmp_path / name):
            pass
        assert (tmp_path / name).is_file()


def test_what_is_no_regular_file_is_refused_and_stays(tmp_path):
    (tmp_path / "folder").mkdir()
    os.mkfifo(tmp_path / "pipe")
    with socket.socket(socket.AF_UNIX) as made:
        made.bind(str(tmp_path / "socket"))
    (tmp_path / "link").symlink_to("/dev/null")
    (tmp_path / "circle").symlink_to("circle")
    kinds = {"folder": "is a folder", "pipe": "is a pipe", "socket": "is a socket", "link": "is a device"}
    kinds |= {"circle": "cannot be written"}
    before = {one.name: one.lstat() for one in tmp_path.iterdir()}
    for name, what in kinds.items():
        with pytest.raises(UserError, match=f"{name}: {what}.*; give another file"), replaced(tmp_path / name):
            pass
    assert {one.name: one.lstat().st_ino for one in tmp_path.iterdir()} == {n: s.st_ino for n, s in before.items()}
    for device in ("/dev/null", "/dev/full", "/dev/stdin" if os.isatty(0) else "/dev/zero"):
        with pytest.raises(UserError, match="is a device"):
            require_output(Path(device))


def test_what_is_no_file_to_read_is_said(tmp_path):
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "dangling").symlink_to("none")
    kinds = {tmp_path: "is a folder", tmp_path / "pipe": "is a pipe", Path("/dev/null"): "is a device"}
    kinds |= dict.fromkeys(
        (tmp_path / "dangling", tmp_path / "none", Path("/dev/null/x")), "there is no such file; make it"
    )
    for path, said in kinds.items():
        with pytest.raises(UserError, match=f"^{path}: {said}"):
            require_file(path, "; make it")


def test_a_link_stays_and_its_target_is_written(tmp_path):
    (tmp_path / "there").mkdir()
    (tmp_path / "a").symlink_to("there/b")  # there is no b yet
    for text in (b"first", b"second"):
        with replaced(tmp_path / "a") as file:
            file.write(text)
            assert Path(file.name).parent == tmp_path / "there"
        assert (tmp_path / "a").is_symlink() and (tmp_path / "there/b").read_bytes() == text


@pytest.mark.parametrize("how", ["itself", "symbolic link", "hard link", "through a folder", "in a folder"])
def test_an_input_is_not_written_over_under_any_name(tmp_path, how):
    (tmp_path / "in/deep").mkdir(parents=True)
    read = tmp_path / "in/deep/a"
    read.write_text("input")
    out, inputs = tmp_path / "out", [read]
    if how == "itself":
        out = read
    elif how == "symbolic link":
        out.symlink_to(read)
    elif how == "hard link":
        out.hardlink_to(read)
    elif how == "through a folder":
        (tmp_path / "other").symlink_to("in")
        out = tmp_path / "other/deep/../deep/a"
    else:
        out, inputs = read, [tmp_path / "in"]
    with pytest.raises(UserError, match=r"is read as an input \(.*; give another file"), replaced(out, inputs):
        pass
    assert read.read_text() == "input" and list(read.parent.iterdir()) == [read]


def test_a_file_beside_the_inputs_can_be_written_twice(tmp_path):
    for _ in range(2):
        with replaced(tmp_path / "out", [tmp_path / "a"]):
            pass


def test_a_file_that_is_read_only_is_not_replaced(tmp_path):
    (tmp_path / "a").write_text("old")
    code = f"""
import os
from pathlib import Path
from ids_repro.files import replaced
if os.geteuid() == 0:
    Path({str(tmp_path)!r}).chmod(0o777)
    os.seteuid(65534)
with replaced(Path({str(tmp_path / "a")!r})) as file:
    file.write(b"new")
"""
    (tmp_path / "a").chmod(0o444)
    for one in (tmp_path, *tmp_path.parents[:2]):
        one.chmod(one.stat().st_mode | 0o011)
    done = subprocess.run([sys.executable, "-c", code], cwd=config.ROOT, capture_output=True, text=True)
    assert "a: cannot be written (Permission denied); give another file" in done.stderr
    assert (tmp_path / "a").read_text() == "old"


LIMITED = """
import resource, sys
from pathlib import Path
import numpy as np, pyarrow as pa, pyarrow.parquet as pq
from ids_repro.config import UserError
from ids_repro.files import replaced
resource.setrlimit(resource.RLIMIT_FSIZE, (4096, 4096))
values = np.random.default_rng(0).integers(0, 2**60, 10**5)
try:
    with replaced(Path(sys.argv[2])) as file:
        if sys.argv[1] == "bytes":
            file.write(values.tobytes())
        elif sys.argv[1] == "few bytes":
            file.write(values.tobytes()[:5000])
        elif sys.argv[1] == "npz":
            np.savez(file, a=values)
        else:
            with pq.ParquetWriter(file, pa.schema([("a", pa.int64())])) as writer:
                writer.write_table(pa.table({"a": values}))
except UserError as error:
    print(error)
"""


@pytest.mark.parametrize("what", ["bytes", "few bytes", "npz", "parquet"])
def test_a_full_disk_is_one_sentence_from_every_library_and_the_old_file_stays(tmp_path, what):
    """A limit on the size of files replaces a full disk: with both, a write raises OSError."""
    (tmp_path / "a").write_text("old")
    argv = [sys.executable, "-c", LIMITED, what, str(tmp_path / "a")]
    done = subprocess.run(argv, cwd=config.ROOT, capture_output=True, text=True)
    assert done.stdout == f"{tmp_path / 'a'}: cannot be written (File too large); give another file\n"
    assert done.stderr == ""
    assert [one.read_text() for one in tmp_path.iterdir()] == ["old"]


def test_an_error_of_reading_is_not_blamed_on_the_output(tmp_path):
    with pytest.raises(FileNotFoundError, match="nowhere"), replaced(tmp_path / "a"):
        (tmp_path / "nowhere").read_bytes()


def test_of_two_runs_with_one_output_the_last_to_finish_wins_whole(tmp_path):
    tables = [pa.table({"a": np.full(1000, n)}) for n in range(2)]
    with replaced(tmp_path / "a") as first:
        pq.write_table(tables[0], first)
        with replaced(tmp_path / "a") as second:
            pq.write_table(tables[1], second)
            assert Path(first.name) != Path(second.name)
        assert pq.read_table(tmp_path / "a").equals(tables[1])
    assert pq.read_table(tmp_path / "a").equals(tables[0])


KILLED = """
import sys, time
from pathlib import Path
from ids_repro.files import private_folder, replaced
with replaced(Path(sys.argv[1])) as file, private_folder(Path(sys.argv[1])) as folder:
    file.write(b"half")
    (folder / "part").touch()
    print("ready", flush=True)
    time.sleep(60)
"""


def test_what_a_killed_run_left_is_removed_when_the_next_file_is_written_and_what_a_live_run_has_stays(tmp_path):
    argv = [sys.executable, "-c", KILLED, str(tmp_path / "a")]
    runs = [subprocess.Popen(argv, cwd=config.ROOT, stdout=subprocess.PIPE, text=True) for _ in range(2)]
    try:
        assert [run.stdout.readline() for run in runs] == ["ready\n"] * 2
        (tmp_path / f"{PREFIX}of-a-user").write_text("mine")
        assert len(list(tmp_path.iterdir())) == 5
        os.kill(runs[0].pid, signal.SIGKILL)
        runs[0].wait()
        with replaced(tmp_path / "b"):
            pass
        assert until(lambda: len(list(tmp_path.iterdir())) == 4, 1)  # a file, a folder, the user's file and b
    finally:
        for run in runs:
            run.kill()
            run.communicate()
    with replaced(tmp_path / "b"):
        pass
    assert sorted(one.name for one in tmp_path.iterdir()) == [f"{PREFIX}of-a-user", "b"]


def test_a_private_folder_is_removed_when_its_block_ends(tmp_path):
    with pytest.raises(ZeroDivisionError), private_folder(tmp_path / "new/a") as folder:
        assert folder.parent == tmp_path / "new"
        (folder / "part").write_text("half" * (1 // 0))
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("make", [replaced, private_folder])
def test_a_folder_that_was_made_for_nothing_is_removed_again(tmp_path, make):
    kept = tmp_path / "kept"
    kept.mkdir()
    with pytest.raises(ZeroDivisionError), make(kept / "a" / "b" / "x"):
        raise ZeroDivisionError
    assert list(tmp_path.rglob("*")) == [kept]
    with replaced(kept / "a" / "b" / "x") as file:
        file.write(b"1")
    assert (kept / "a" / "b" / "x").read_bytes() == b"1"
