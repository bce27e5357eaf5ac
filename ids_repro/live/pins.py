"""What outlives the process that attached a program: pins in the BPF file system, a folder for each interface.

    /sys/fs/bpf/ids_repro/<network namespace>-<interface index>/
        about      an array map that holds JSON: what was attached, and where its models are from
        program    the program
        <map>      each map that user space reads or writes, by its name

Namespace and index name the folder because two namespaces may each have an eth0. The kernel holds everything, so
nothing can contradict it, and a reboot takes all of it along.
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
from ..require import require_root

BPFFS = Path("/sys/fs/bpf")
FOLDER = BPFFS / "ids_repro"
ABOUT, PROGRAM = "about", "program"
_ABOUT_BYTES = 1 << 14


@contextlib.contextmanager
def locked() -> Iterator[None]:
    """Let one process at a time look at pins or change them; the kernel releases the lock however the process ends.

    Raises
    ------
    UserError
        Without root, or where there is no BPF file system and none can be mounted.
    """
    require_root("a program on an interface")
    _require_bpffs()
    fd = os.open(BPFFS, os.O_RDONLY)
    try:
        fcntl.flock(fd, fcntl.LOCK_EX)
        yield
    finally:
        os.close(fd)


def _require_bpffs() -> None:
    """Mount the BPF file system where systemd would have, unless it is there."""
    mounted = psutil.disk_partitions(all=True)
    if any(part.mountpoint == str(BPFFS) and part.fstype == "bpf" for part in mounted):
        return
    # ip netns exec mounts a /sys of its own, called like the namespace: what is mounted in there ends with its process
    hidden = [part.device for part in mounted if part.mountpoint == "/sys" and part.device in netns.listnetns()]
    if hidden:
        raise UserError(
            f"'ip netns exec' hides {BPFFS}, where programs are kept: enter the network namespace with "
            f"'nsenter --net=/run/netns/{hidden[-1]}' instead"
        )
    done = subprocess.run(["mount", "-t", "bpf", "bpf", BPFFS], capture_output=True, text=True)
    if done.returncode:
        raise UserError(f"there is no BPF file system at {BPFFS}, and mounting it failed: {done.stderr.strip()}")


def namespace() -> int:
    """Inode of the current network namespace."""
    # the thread's: testbed.in_netns moves threads, not processes
    return Path("/proc/thread-self/ns/net").stat().st_ino


def folder_of(index: int) -> Path:
    """Where the pins of an interface of the current network namespace are, or would be."""
    return FOLDER / f"{namespace()}-{index}"


def place_of(folder: Path) -> tuple[int, int]:
    """Network namespace and interface index that a folder of pins is of."""
    inode, index = map(int, folder.name.split("-"))
    return inode, index


def all_folders() -> list[Path]:
    """Every folder of pins that there is, of all network namespaces."""
    return sorted(FOLDER.iterdir()) if FOLDER.is_dir() else []


def pin(folder: Path, about: dict, fds: Mapping[str, int]) -> None:
    """Make a folder of pins: ``about``, then each file descriptor under its name."""
    folder.mkdir(parents=True)
    fd = bpf_syscall.create_array(_ABOUT_BYTES)
    try:
        _write(fd, about)
        bpf_syscall.pin(fd, folder / ABOUT)
    finally:
        os.close(fd)
    for name, other in fds.items():
        bpf_syscall.pin(other, folder / name)


def get(folder: Path, name: str) -> int:
    """Open a pin; returns a file descriptor, which is the caller's to close."""
    return bpf_syscall.open_pin(folder / name)


def about(folder: Path) -> dict:
    """Read what was attached; empty if whoever attached it was killed before this was written."""
    if not (folder / ABOUT).exists():
        return {}
    fd = get(folder, ABOUT)
    try:
        return json.loads(read_element(fd, 0, np.zeros(_ABOUT_BYTES, np.uint8)).tobytes().rstrip(b"\0"))
    finally:
        os.close(fd)


def rewrite(folder: Path, about: dict) -> None:
    """Change what `about` reads."""
    fd = get(folder, ABOUT)
    try:
        _write(fd, about)
    finally:
        os.close(fd)


def _write(fd: int, about: dict) -> None:
    write_element(fd, 0, json.dumps(about).encode().ljust(_ABOUT_BYTES, b"\0"))


def remove(folder: Path) -> None:
    """Take a folder of pins away, and the folder of them all with the last one; what is attached stays so."""
    shutil.rmtree(folder, ignore_errors=True)
    with contextlib.suppress(OSError):
        FOLDER.rmdir()


def living_namespaces() -> set[int]:
    """Inodes of the network namespaces that a thread is in, that a process holds open, or that are mounted."""
    texts = []
    for process in Path("/proc").glob("[0-9]*"):
        for path in _links(process):
            with contextlib.suppress(OSError):  # it has ended
                texts.append(str(path.readlink()))
        with contextlib.suppress(OSError):
            texts.append((process / "mountinfo").read_text())
    return {int(inode) for text in texts for inode in re.findall(r"net:\[(\d+)\]", text)}


def _links(process: Path) -> Iterator[Path]:
    for folder, link in (("task", "ns/net"), ("fd", "")):
        with contextlib.suppress(OSError):
            yield from [entry / link for entry in (process / folder).iterdir()]
