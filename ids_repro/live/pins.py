"""Pins in the BPF file system, which keep a program and its maps after the process that attached them has ended.

Each interface has a folder::

    /sys/fs/bpf/ids_repro/<network namespace>-<interface index>/    (of another user than root: ids_repro-<user id>)
        about      an array map that holds JSON: what was attached, and the models' files
        program    the program
        <map>      each map that user space reads or writes, by its name

The folder is named by namespace and index because two namespaces may each have an eth0. Everything that is known about
an attached program is in the kernel. So no file can contradict the kernel, and a reboot removes all of it.

Every user may write to /sys/fs/bpf. So what the own user does not own, or what is no folder of pins, is left alone.
"""

from __future__ import annotations

import contextlib
import json
import os
import re
import shutil
import stat
import subprocess
from collections.abc import Iterator, Mapping
from pathlib import Path

import numpy as np
import psutil
from pyroute2 import netns

from .. import locks
from ..config import UserError
from ..kernel import bpf_syscall
from ..kernel.bpf_syscall import read_element, write_element
from ..kernel.info import map_info
from ..require import FOR_BPF, capable, require_capabilities, require_programs

BPFFS = Path("/sys/fs/bpf")
USER = os.geteuid()
FOLDER = BPFFS / ("ids_repro" if USER == 0 else f"ids_repro-{USER}")  # each user trusts the own pins only
ABOUT, PROGRAM = "about", "program"  # names of pins
MOST_ABOUT = 1 << 16  # bytes of the description, and how many are kept free for the names of later models
_ROOM = 1 << 14
PATIENCE_S = 60.0  # how long to wait for another command, which may be building a program


@contextlib.contextmanager
def locked(patience_s: float = PATIENCE_S) -> Iterator[None]:
    """Let one process at a time read or change pins. The kernel releases the lock however the process ends.

    Parameters
    ----------
    patience_s : float
        How long to wait for another command that changes pins [s].

    Raises
    ------
    UserError
        Without the capabilities; if there is no BPF file system and none can be mounted; if it is closed to the
        user; or if another command has the lock for too long.
    """
    require_capabilities("a program on an interface", *FOR_BPF)
    _require_bpffs()
    if not os.access(BPFFS, os.R_OK | os.X_OK, effective_ids=True):
        raise UserError(_closed())
    with locks.held(BPFFS, "another command of ids_repro changes a program", patience_s):
        if _is_own(FOLDER):
            FOLDER.chmod(0o700)
        yield


def _is_own(path: Path) -> bool:
    """Return whether there is a folder of this user at a path; a link to one is none."""
    try:
        there = path.lstat()
    except OSError:
        return False
    return stat.S_ISDIR(there.st_mode) and there.st_uid == USER


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
    """Return the folders of pins of all network namespaces; one without pins is of a process that was killed."""
    inside = sorted(FOLDER.iterdir()) if _is_own(FOLDER) else []
    named = [one for one in inside if re.fullmatch(r"\d+-\d+", one.name) and _is_own(one)]
    return [one for one in named if (one / ABOUT).exists() or not any(one.iterdir())]


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

    Raises
    ------
    UserError
        If the description is too long, or something that is not ours is in the folder's place. Nothing is pinned then.
    """
    text = _text(about)
    try:
        FOLDER.mkdir(mode=0o700, exist_ok=True)
        locks.require_own_folder(FOLDER, USER)
        folder.mkdir(mode=0o700)
    except PermissionError:
        raise UserError(_closed()) from None
    except FileExistsError as error:
        raise UserError(f"{error.filename} is no folder of our pins: remove it as root") from None
    fd = bpf_syscall.create_array(len(text) + _ROOM)
    try:
        _write(fd, about)
        for name, one in {ABOUT: fd, **fds}.items():
            bpf_syscall.pin(one, folder / name)
    except BaseException:
        remove(folder)
        raise
    finally:
        os.close(fd)


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
    """Return what was attached; an empty dict if that cannot be read, or the process was killed before it wrote it."""
    try:
        with opened(folder, ABOUT) as fd:
            found = json.loads(read_element(fd, 0, np.zeros(_size(fd), np.uint8)).tobytes().rstrip(b"\0"))
    except (OSError, ValueError):
        return {}
    return found if isinstance(found, dict) else {}


def rewrite(folder: Path, about: dict) -> None:
    """Replace what `about` returns; UserError if that is too long."""
    with opened(folder, ABOUT) as fd:
        _write(fd, about)


def _size(fd: int) -> int:
    """Return the room for the description; ValueError if what is pinned there is no such map."""
    info = map_info(fd)
    if info["type"] != bpf_syscall.MAP_TYPE_ARRAY or info["value_size"] > MOST_ABOUT + _ROOM:
        raise ValueError
    return int(info["value_size"])


def _text(about: dict, most: int = MOST_ABOUT) -> bytes:
    text = json.dumps(about, ensure_ascii=False).encode(errors="surrogatepass")
    if len(text) > most:
        raise UserError(f"the description of this program has {len(text):,} bytes, and there is room for {most:,}")
    return text


def _write(fd: int, about: dict) -> None:
    size = _size(fd)
    write_element(fd, 0, _text(about, size).ljust(size, b"\0"))


def remove(folder: Path) -> None:
    """Remove a folder of pins, and `FOLDER` after the last one. Programs that are attached stay attached."""
    shutil.rmtree(folder, ignore_errors=True)
    if _is_own(FOLDER):
        with contextlib.suppress(OSError):
            FOLDER.rmdir()


def namespace_path(inode: int) -> Path | None:
    """Return a path to a network namespace, if possible by its name; None if it is not to be seen from here."""
    for path in Path("/run/netns").glob("*"):
        with contextlib.suppress(OSError):
            if path.stat().st_ino == inode:
                return path
    return living_namespaces().get(inode)


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
