"""A folder of pins is named by namespace and interface; what is not ours is left alone and locks no command out.

tests/live/test_attached.py pins and removes real programs.
"""

import contextlib
import json
import os
import shutil
import socket
import subprocess
import sys
from pathlib import Path

import pytest
from machine_state import attachments

from ids_repro import config
from ids_repro.config import UserError
from ids_repro.kernel import bpf_syscall
from ids_repro.live import pins
from ids_repro.models.model_file import read_model, save_model
from ids_repro.text import printable

NOBODY = 65534


def test_a_folder_names_the_namespace_and_the_interface():
    folder = pins.folder_of(7)
    assert folder.parent == pins.FOLDER
    assert pins.place_of(folder) == (pins.namespace(), 7)


def test_the_namespace_is_this_process_own_and_is_alive():
    assert pins.namespace() == Path("/proc/self/ns/net").stat().st_ino
    assert pins.namespace() in pins.living_namespaces()


def test_a_folder_without_pins_tells_nothing(tmp_path):
    assert pins.about(tmp_path) == {}


@pytest.fixture
def attach(ids, files):
    """Attach to the server's interface by a hook; return the folder of its pins."""

    def run(hook: str = "xdp-drv", *argv: object):
        assert ids("attach", "eth0", "--model", files["binary"], "--classifier", "dt", "--hook", hook, *argv)[0] == 0
        (folder,) = pins.all_folders()
        return folder

    return run


def status(server) -> subprocess.CompletedProcess:
    argv = [sys.executable, "-m", "ids_repro", "status"]
    return server.run(argv, cwd=config.ROOT, capture_output=True, text=True, timeout=60)


@pytest.mark.root
@pytest.mark.bpf
@pytest.mark.parametrize("what", ["folder", "link", "file"])
def test_what_another_user_put_in_the_place_of_our_pins_is_left_alone(ids, server, files, what):
    inside = pins.BPFFS / "inside"
    (inside / f"{server.call(pins.folder_of, 2).name}").mkdir(parents=True)
    if what == "folder":
        inside.rename(pins.FOLDER)
        os.chown(pins.FOLDER, NOBODY, NOBODY)
    elif what == "link":
        pins.FOLDER.symlink_to(inside)
    else:
        fd = bpf_syscall.create_array(8)
        bpf_syscall.pin(fd, pins.FOLDER)
        os.close(fd)
    try:
        assert ids("status") == (0, "no interface has a program of ids_repro\n")
        code, said = ids("detach", "eth0")
        assert code == 2 and "eth0 has no program of ids_repro" in said
        code, said = ids("attach", "eth0", "--model", files["binary"])
        assert code == 2 and str(pins.FOLDER) in said and "remove it as root" in said
        assert attachments(server) == []
        there = pins.FOLDER if what == "folder" else inside
        assert len(list(there.iterdir())) == 1 and os.path.lexists(pins.FOLDER)
    finally:
        with contextlib.suppress(OSError):
            pins.FOLDER.unlink()
        shutil.rmtree(pins.FOLDER, ignore_errors=True)
        shutil.rmtree(inside, ignore_errors=True)


@pytest.mark.root
@pytest.mark.bpf
def test_what_is_no_folder_of_pins_of_ours_is_skipped_and_stays(ids, server, files):
    index = server.call(socket.if_nametoindex, "eth0")
    theirs = server.call(pins.folder_of, index)
    names = [pins.FOLDER / name for name in ("x", "1-2-3", "12-", "1-1", theirs.name)]
    for one in names:
        one.mkdir(parents=True)
    fd = bpf_syscall.create_array(8)
    for one in (names[0], theirs):  # the last would be the folder of eth0's pins, but it has no description
        bpf_syscall.pin(fd, one / "map")
    os.close(fd)
    os.chown(names[3], NOBODY, NOBODY)
    try:
        assert ids("status") == (0, "no interface has a program of ids_repro\n")
        code, said = ids("attach", "eth0", "--model", files["binary"])
        assert code == 2 and f"{theirs} is no folder of our pins: remove it as root" in said
        assert "eth0 has no program of ids_repro" in ids("detach", "eth0")[1]
        assert all(one.is_dir() for one in names) and (theirs / "map").exists() and attachments(server) == []
    finally:
        shutil.rmtree(pins.FOLDER)


@pytest.mark.root
@pytest.mark.bpf
def test_a_lock_that_another_user_holds_in_the_bpf_file_system_stops_no_command(ids, attach):
    code = f"import fcntl, os, time; fcntl.flock(os.open('{pins.BPFFS}', 0), 2); print(1, flush=True); time.sleep(60)"
    argv = ["setpriv", "--reuid", str(NOBODY), "--clear-groups", "/usr/bin/python3", "-c", code]
    with subprocess.Popen(argv, stdout=subprocess.PIPE) as process:
        assert process.stdout.readline()
        try:
            attach()
            assert ids("status")[0] == ids("detach", "eth0")[0] == 0
        finally:
            process.kill()


@pytest.mark.root
@pytest.mark.bpf
def test_whoever_waits_for_another_command_is_told_for_which():
    words = rf"another command of ids_repro changes a program \(process {os.getpid()}, "
    with pins.locked(), pytest.raises(UserError, match=words), pins.locked(0.1):
        pass


DAMAGED = {"cut": b'{"iface": "eth', "no object": b"[1]", "nothing": b"", "no text": b"\xff\xfe"}


@pytest.mark.root
@pytest.mark.bpf
@pytest.mark.parametrize(("hook", "what"), list(zip(("xdp-drv", "xdp-skb", "tc", "tc-both"), DAMAGED, strict=True)))
def test_a_description_that_cannot_be_read_locks_no_command_out(ids, server, files, attach, hook, what):
    folder = attach(hook)
    with pins.opened(folder, pins.ABOUT) as fd:
        bpf_syscall.write_element(fd, 0, DAMAGED[what].ljust(pins._size(fd), b"\0"))
    done = status(server)
    assert (done.returncode, done.stderr.count("\n")) == (0, 1)
    assert "eth0 has a program whose description cannot be read: detach it and attach it again" in done.stderr
    for argv in (("swap", "eth0", "--model", files["binary"]), ("samples", "eth0"), ("status", "eth0")):
        assert ids(*argv)[0] == 2
    assert "already" in ids("attach", "eth0", "--model", files["binary"])[1]
    assert ids("detach", "eth0") == (0, "eth0: detached\n")
    assert [one for one in attachments(server) if one.get("kind") != "clsact"] == []
    server.run(["tc", "qdisc", "del", "dev", "eth0", "clsact"], capture_output=True)  # nobody knows who made it


@pytest.mark.root
@pytest.mark.bpf
@pytest.mark.parametrize("name", ["\x1b[31m\x07" * 40, "\\" * 250, "é" * 125, os.fsdecode(b"\xff" * 250)])
def test_a_model_may_have_any_name_and_say_anything_of_its_packets(ids, files, tmp_path, attach, name):
    model = read_model(files["binary"])
    model.about["mean_length"] = "x" * 2000
    path = save_model(model, tmp_path).rename(tmp_path / name)
    attach()
    for _ in range(18):
        assert ids("swap", "eth0", "--model", path)[0] == 0
    code, said = ids("status", "eth0")
    assert code == 0 and said.replace("\n", "").isprintable()
    (found,) = json.loads(ids("status", "--json")[1])
    assert found["models"][-1]["file"] == printable(name, most=255) and found["models"][-1]["mean_length"] is None
    assert ids("detach", "eth0")[0] == 0


@pytest.mark.root
@pytest.mark.bpf
def test_a_description_that_is_too_long_is_refused_before_it_is_pinned(server):
    folder = server.call(pins.folder_of, 99)
    with pytest.raises(UserError, match="has 70,009 bytes, and there is room for 65,536"):
        pins.pin(folder, {"x": "y" * 70_000}, {})
    assert not pins.FOLDER.exists()
    pins.pin(folder, {"x": "y" * 60_000}, {})
    try:
        with pytest.raises(UserError, match="and there is room for 76,393"):
            pins.rewrite(folder, {"x": "y" * 80_000})
        assert pins.about(folder) == {"x": "y" * 60_000}
    finally:
        pins.remove(folder)
    assert not pins.FOLDER.exists()
