"""Take locks, in one place for the whole package, and keep them in a folder that nobody else can write to.

The kernel releases a lock when its process ends, even by kill -9. A lock stands for a thing, such as the folder with
the names of network namespaces. So commands that see the same thing share the lock, whatever their environment says.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import os
import re
import shlex
import stat
import time
from collections.abc import Iterator
from pathlib import Path
from typing import TextIO

from .config import UserError
from .text import printable

RUN = Path("/run/ids_repro")  # of root
_OF_USERS = (Path("/run/user/{}/ids_repro"), Path("/tmp/ids_repro-{}"))  # of others: the first that can be made
_STEP_S = 0.05


def run_folder(user: int | None = None, root: Path = RUN) -> Path:
    """Return the folder for locks and journals, which lasts until the machine restarts; it is made if it is missing.

    Parameters
    ----------
    user : int, optional
        Whose folder; that of this process's user by default.
    root : Path
        The folder of root.

    Raises
    ------
    UserError
        If there is something else in its place: a link, a file, or a folder of another user.
    """
    user = os.geteuid() if user is None else user
    choices = [Path(str(one).format(user)) for one in _OF_USERS] if user else [root]
    folder = next((one for one in choices[:-1] if one.parent.is_dir()), choices[-1])
    try:
        with contextlib.suppress(FileExistsError):
            folder.mkdir(mode=0o700)
        require_own_folder(folder, user)
        if stat.S_IMODE(folder.lstat().st_mode) != 0o700:
            folder.chmod(0o700)
    except OSError as error:
        raise UserError(f"{folder}: locks cannot be kept there ({error.strerror or error})") from None
    return folder


def require_own_folder(folder: Path, user: int) -> None:
    """Raise UserError if a path leads to something else than a folder of a user; a link is something else."""
    there = folder.lstat()
    if not stat.S_ISDIR(there.st_mode):
        raise UserError(f"{folder} is a link or a file, not a folder of ids_repro: remove it as root")
    if there.st_uid != user:
        raise UserError(f"{folder} belongs to another user: remove it as root")


@contextlib.contextmanager
def held(thing: Path, what: str, patience_s: float = 0.0, run: Path | None = None) -> Iterator[None]:
    """Hold the lock that stands for a thing while the block runs.

    Parameters
    ----------
    thing : Path
        A file or folder. All its names lead to one lock.
    what : str
        See `take`.
    patience_s : float
        See `take`.
    run : Path, optional
        The folder for the lock; `run_folder` by default.

    Raises
    ------
    UserError
        As `take` and `run_folder` do.
    """
    there = thing.stat()
    fd = opened((run or run_folder()) / f"{there.st_dev}-{there.st_ino}.lock")
    try:
        take(fd, what, patience_s)
        yield
    finally:
        os.close(fd)


def opened(path: Path) -> int:
    """Open a file in `run_folder` to read and append, and return its descriptor; it is made if it is missing.

    Raises
    ------
    UserError
        If that is not possible, also because there is a link.
    """
    try:
        return os.open(path, os.O_RDWR | os.O_CREAT | os.O_APPEND | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
    except OSError as error:
        remedy = "make room" if error.errno in (errno.ENOSPC, errno.EDQUOT) else "remove it"
        raise UserError(f"{path}: cannot be opened ({error.strerror}): {remedy}") from None


def open_locked(path: Path, what: str, patience_s: float = 0.0) -> TextIO:
    """Open and lock a file that whoever holds its lock may remove.

    Parameters
    ----------
    path : Path
        The file, in `run_folder`.
    what, patience_s
        See `take`.

    Returns
    -------
    file object
        It reads from the beginning and writes at the end; closing it releases the lock.

    Raises
    ------
    UserError
        As `opened` and `take` do.
    """
    while True:
        file = open(path, "a+", opener=lambda *_: opened(path))  # noqa: SIM115 (the caller closes it)
        try:
            take(file.fileno(), what, patience_s)
            with contextlib.suppress(FileNotFoundError):  # it was removed while we waited
                if os.path.samestat(os.fstat(file.fileno()), path.stat()):
                    file.seek(0)
                    return file
        except BaseException:
            file.close()
            raise
        file.close()


def take(fd: int, what: str, patience_s: float = 0.0) -> None:
    """Lock an open file until it is closed.

    Parameters
    ----------
    fd : int
        File descriptor.
    what : str
        What another process does that holds the lock, as the beginning of the error's sentence.
    patience_s : float
        How long to wait for that process [s].

    Raises
    ------
    UserError
        If another process holds the lock, and still does after that time. The text names the process.
    OSError
        If the file system has no locks.
    """
    end = time.monotonic() + patience_s
    while True:
        try:
            return fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            if time.monotonic() >= end:
                raise UserError(f"{what} ({holder(fd)}): wait for it or stop it") from None
        time.sleep(_STEP_S)


def holder(fd: int) -> str:
    """Return in words which process holds the lock on an open file: its id and its command."""
    there = os.fstat(fd)
    name = f"{os.major(there.st_dev):02x}:{os.minor(there.st_dev):02x}:{there.st_ino}"
    with contextlib.suppress(OSError):
        for number in re.findall(rf"FLOCK .* (\d+) {name} ", Path("/proc/locks").read_text()):
            words = Path(f"/proc/{number}/cmdline").read_bytes().decode(errors="replace").split("\0")
            return f"process {number}, {printable(shlex.join(filter(None, words)), most=120)}"
    return "a process that is not to be seen from here"
