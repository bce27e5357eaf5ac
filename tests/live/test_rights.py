"""Three capabilities are enough for every command of a program on an interface, and what is missing is named."""

import contextlib
import json
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest
from rights import NOBODY, only, require_readable

from ids_repro import config
from ids_repro.live import pins
from ids_repro.require import CAPABILITIES, FOR_BPF

pytestmark = [pytest.mark.root, pytest.mark.bpf]
FOLDER = pins.BPFFS / f"ids_repro-{NOBODY}"
SEES_ALL = ("CAP_SYS_ADMIN", "CAP_SYS_PTRACE")


@pytest.fixture
def run(server):
    """Run a command on the server as an ordinary user who has these capabilities and no others."""

    def as_nobody(*argv: object, held: tuple[str, ...] = FOR_BPF, before: tuple[str, ...] = ()) -> tuple[int, str]:
        require_readable()
        command = [*before, *only(held), sys.executable, "-B", "-m", "ids_repro", *map(str, argv)]
        done = server.run(command, cwd=config.ROOT, capture_output=True, text=True, timeout=60)
        return done.returncode, done.stdout + done.stderr

    yield as_nobody
    assert not FOLDER.exists()


@pytest.fixture
def model(files):
    """A model's file that every user can read: a tree that blocks a port."""
    with tempfile.TemporaryDirectory() as folder:
        Path(folder).chmod(0o755)
        yield shutil.copy(files["binary"], folder)


@pytest.mark.parametrize("hook", ["xdp-drv", "xdp-skb", "tc"])
def test_three_capabilities_attach_look_swap_take_suspects_and_detach(run, model, send, tmp_path, hook):
    options = ("--classifier", "dt", "--hook", hook, "--action", "redirect", "--yes-drop", "--offloads", "off")
    assert run("attach", "eth0", "--model", model, *options)[0] == 0
    send(9, 3)
    code, said = run("status", "eth0")
    assert code == 0 and "  ok  " in said and "ns per packet" not in said
    assert run("samples", "eth0", "--count", 3)[1].count("  Attack (gen. 0)  udp ") == 3
    assert "decides from generation 1 on" in run("swap", "eth0", "--model", model, "--yes-drop")[1]
    (found,) = json.loads(run("status", "--json", held=(*FOR_BPF, "CAP_SYS_ADMIN"))[1])
    assert found["generation"] == 1 and "ns_per_packet" in found
    assert run("detach", "eth0") == (0, "eth0: detached\n")


@pytest.mark.parametrize("missing", FOR_BPF)
@pytest.mark.parametrize("command", ["attach", "status", "swap", "samples", "detach"])
def test_the_capability_that_is_missing_is_named_with_what_needs_it(run, model, command, missing):
    argv = [command, "eth0", *(["--model", model] if command in ("attach", "swap") else [])]
    code, said = run(*argv, held=tuple(set(FOR_BPF) - {missing}))
    assert code == 2 and said.count("\n") == 1
    assert f"needs {missing} ({CAPABILITIES[missing][1]}): run it with sudo, or give it CAP_BPF, CAP_NET_ADMIN" in said


def test_all_that_are_missing_are_named(run):
    code, said = run("status", held=())
    assert code == 2 and all(f"{name} (" in said for name in FOR_BPF)


def test_a_bpf_file_system_that_is_closed_to_the_user_is_told_with_commands_that_open_it(run, model):
    mode = pins.BPFFS.stat().st_mode & 0o7777
    try:
        for closed in (0o700, 0o755):
            pins.BPFFS.chmod(closed)
            code, said = run("attach", "eth0", "--model", model)
            refusals = [line for line in said.splitlines() if "a flow table for" not in line]
            assert code == 2 and len(refusals) == 1
        remedy = said.split("as root, run '")[1].rstrip("'\n").split("' and '")
        assert [subprocess.run(one.split()).returncode for one in remedy] == [0, 0]
        assert run("attach", "eth0", "--model", model)[0] == 0
        assert run("detach", "eth0")[0] == 0
    finally:
        pins.BPFFS.chmod(mode)
        with contextlib.suppress(FileNotFoundError):  # of a test that was skipped
            FOLDER.rmdir()


def test_without_a_bpf_file_system_the_capability_that_mounts_one_is_named(run):
    gone = ("unshare", "--mount", "sh", "-c", 'while umount /sys/fs/bpf 2>/dev/null; do :; done; exec "$0" "$@"')
    code, said = run("status", before=gone)
    assert code == 2 and "to mount one needs CAP_SYS_ADMIN: run 'sudo mount -t bpf bpf /sys/fs/bpf'" in said


def test_in_a_user_namespace_capabilities_do_not_count(server):
    argv = ["unshare", "-U", "-r", sys.executable, "-B", "-m", "ids_repro", "status"]
    done = server.run(argv, cwd=config.ROOT, capture_output=True, text=True)
    assert done.returncode == 2 and "the kernel does not give in a user namespace" in done.stderr


def test_who_sees_not_every_namespace_keeps_pins_whose_interface_is_not_to_be_seen(run, server, model):
    server.run(["ip", "link", "add", "v0", "type", "veth", "peer", "name", "v1"], check=True)
    assert run("attach", "v0", "--model", model)[0] == 0
    server.run(["ip", "link", "del", "v0"], check=True)
    assert run("status") == (0, "no interface has a program of ids_repro\n")
    assert len(list(FOLDER.iterdir())) == 1
    assert run("status", held=(*FOR_BPF, *SEES_ALL))[0] == 0  # the next fixture checks that the pins are gone


def test_a_folder_that_somebody_else_made_is_not_trusted(run, model):
    FOLDER.mkdir()
    try:
        code, said = run("attach", "eth0", "--model", model)
        assert code == 2 and f"{FOLDER} belongs to another user: remove it as root" in said
    finally:
        FOLDER.rmdir()
