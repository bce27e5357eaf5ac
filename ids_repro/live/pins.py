"""Pins in the BPF file system, which keep a program and its maps after the process that attached them has ended.

Each interface has a folder::

    /sys/fs/bpf/ids_repro/<network namespace>-<interface index>/    (of another user than root: ids_repro-<user id>)
        about      an array map that holds JSON: what was attached, and the models' files
        program    the program
        <map>      each map that user space reads or writes, by its name

The folder is named by namespace and index because two namespaces may each have an eth0. Everything that is known about
an attached program is in the kernel. So no file can contradict the kernel, and a reboot removes all of it.
"""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import re
import shutil
import subprocess
from collections.abc import Iterator, Mapping
from pathlib import Path

import numpy as np
import psutil
from pyroute2 import netns

from ..config import UserError
from ..kernel import bpf_syscall
from ..kernel.bpf_syscall import read_element, write_element
from ..require import FOR_BPF, capable, require_capabilities, require_programs

BPFFS = Path("/sys/fs/bpf")
USER = os.geteuid()
FOLDER = BPFFS / ("ids_repro" if USER == 0 else f"ids_repro-{USER}")  # each user trusts the own pins only
ABOUT, PROGRAM = "about", "program"  # names of pins
_ABOUT_BYTES = 1 << 14


@contextlib.contextmanager
def locked() -> Iterator[None]:
    """Let one process at a time read or change pins. The kernel releases the lock however the process ends.

    Raises
    ------
    UserError
        Without the capabilities; if there is no BPF file system and none can be mounted; or if it is closed to the
        user.
    """
    require_capabilities("a program on an interface", *FOR_BPF)
    _require_bpffs()
    try:
        fd = os.open(BPFFS, os.O_RDONLY)
    except PermissionError:
        raise UserError(_closed()) from None
    try:
        fcntl.flock(fd, fcntl.LOCK_EX)
        if FOLDER.exists() and FOLDER.stat().st_uid != USER:
            raise UserError(f"{FOLDER} belongs to another user: remove it as root")
        yield
    finally:
        os.close(fd)


def _closed() -> str:
    """Return what a user can do whom the BPF file system does not let in."""
    own = f"install -d -o {USER} {FOLDER}"
    return f"{BPFFS} is closed to user {USER}: as root, run 'chmod 755 {BPFFS}' and '{own}'"


def _require_bpffs() -> None:
    """Mount the BPF file system where systemd mounts it, unless it is mounted already."""
    mounted = psutil.disk_partitions(all=True)
    if any(part.mountpoint == str(BPFFS) and part.fstype == "bpf" for part in mounted):
        return
    # `ip netns exec` mounts its own /sys, whose device is the namespace's name. What is mounted below it disappears
    # with the process.
    hidden = [part.device for part in mounted if part.mountpoint == "/sys" and part.device in netns.listnetns()]
    if hidden:
        raise UserError(
            f"'ip netns exec' hides {BPFFS}, where programs are kept: enter the network namespace with "
            f"'nsenter --net=/run/netns/{hidden[-1]}' instead"
        )
    if not capable("CAP_SYS_ADMIN"):
        by_hand = f"mount -t bpf bpf {BPFFS}"
        raise UserError(f"no BPF file system is mounted, and to mount one needs CAP_SYS_ADMIN: run 'sudo {by_hand}'")
    require_programs("mount")
    done = subprocess.run(["mount", "-t", "bpf", "bpf", BPFFS], capture_output=True, text=True)
    if done.returncode:
        raise UserError(f"there is no BPF file system at {BPFFS}, and mounting it failed: {done.stderr.strip()}")


def namespace() -> int:
    """Return the inode of this thread's network namespace."""
    # of the thread: `network.hosts.in_netns` moves a thread to another namespace, not the process
    return Path("/proc/thread-self/ns/net").stat().st_ino


def folder_of(index: int) -> Path:
    """Return where the pins are, or would be, of the interface with this index in the current network namespace."""
    return FOLDER / f"{namespace()}-{index}"


def place_of(folder: Path) -> tuple[int, int]:
    """Return the namespace's inode and the interface's index that a folder of pins is named by."""
    inode, index = map(int, folder.name.split("-"))
    return inode, index


def all_folders() -> list[Path]:
    """Return the folders of pins of all network namespaces."""
    return sorted(FOLDER.iterdir()) if FOLDER.is_dir() else []


def pin(folder: Path, about: dict, fds: Mapping[str, int]) -> None:
    """Make a folder of pins.

    Parameters
    ----------
    folder : Path
        Must not exist.
    about : dict
        What `about` shall return.
    fds : mapping of str to int
        File descriptors of the program and its maps, by the names of their pins.
    """
    try:
        folder.mkdir(parents=True)
    except PermissionError:
        raise UserError(_closed()) from None
    fd = bpf_syscall.create_array(_ABOUT_BYTES)
    try:
        _write(fd, about)
        bpf_syscall.pin(fd, folder / ABOUT)
    finally:
        os.close(fd)
    for name, other in fds.items():
        bpf_syscall.pin(other, folder / name)


def get(folder: Path, name: str) -> int:
    """Open a pin and return its file descriptor, which the caller closes."""
    return bpf_syscall.open_pin(folder / name)


@contextlib.contextmanager
def opened(folder: Path, name: str) -> Iterator[int]:
    """Open a pin while the block runs, and yield its file descriptor."""
    fd = get(folder, name)
    try:
        yield fd
    finally:
        os.close(fd)


def about(folder: Path) -> dict:
    """Return what was attached; an empty dict if the process was killed before it could write that."""
    if not (folder / ABOUT).exists():
        return {}
    with opened(folder, ABOUT) as fd:
        return json.loads(read_element(fd, 0, np.zeros(_ABOUT_BYTES, np.uint8)).tobytes().rstrip(b"\0"))


def rewrite(folder: Path, about: dict) -> None:
    """Replace what `about` returns."""
    with opened(folder, ABOUT) as fd:
        _write(fd, about)


def _write(fd: int, about: dict) -> None:
    write_element(fd, 0, json.dumps(about).encode().ljust(_ABOUT_BYTES, b"\0"))


def remove(folder: Path) -> None:
    """Remove a folder of pins, and `FOLDER` after the last one. Programs that are attached stay attached."""
    shutil.rmtree(folder, ignore_errors=True)
    with contextlib.suppress(OSError):
        FOLDER.rmdir()


def living_namespaces() -> dict[int, Path]:
    """Return a path to each network namespace that a thread is in, a process holds open, or a mount keeps, by inode."""
    found = {}
    for process in Path("/proc").glob("[0-9]*"):
        for path in _links(process):
            with contextlib.suppress(OSError):  # the process has ended
                found |= {int(inode): path for inode in re.findall(r"net:\[(\d+)\]", str(path.readlink()))}
        with contextlib.suppress(OSError):
            for inode, at in re.findall(r" net:\[(\d+)\] /(\S+) ", (process / "mountinfo").read_text()):
                found[int(inode)] = process / "root" / at
    return found


def _links(process: Path) -> Iterator[Path]:
    """Yield the links in a folder of /proc that may name a network namespace."""
    for folder, link in (("task", "ns/net"), ("fd", "")):
        with contextlib.suppress(OSError):
            yield from [entry / link for entry in (process / folder).iterdir()]
