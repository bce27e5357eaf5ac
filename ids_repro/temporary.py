"""A folder of its own for the temporary files of a process and its children, which goes with the process.

After kill -9 it stays, with whatever papermill, Jupyter, a compiler or a server had in it: the next start removes it.
"""

from __future__ import annotations

import atexit
import contextlib
import os
import shutil
import tempfile
from pathlib import Path

from . import locks
from .config import UserError

PREFIX = "ids-temporary-"
_own: list[Path] = []


def use_own_folder() -> None:
    """Let this process and its children make temporary files in a new folder, and remove those of killed processes.

    Where no folder can be made, as on a full disk, all stays as it is: who needs a temporary file says so.
    """
    if _own and _own[0].is_dir():  # also in a process that was forked: its parent removes it
        return
    with contextlib.suppress(OSError):
        place = Path(tempfile.gettempdir())
        _remove_leftovers(place)
        folder = _made(place)
        _own[:] = [folder]
        os.environ["TMPDIR"] = tempfile.tempdir = str(folder)
        atexit.register(_remove, folder, os.getpid())


def _made(place: Path) -> Path:
    """Make a folder and hold its lock until this process ends; raise OSError where that is not possible."""
    while True:
        folder = Path(tempfile.mkdtemp(prefix=PREFIX, dir=place))
        try:
            fd = os.open(folder, os.O_RDONLY | os.O_CLOEXEC)
            locks.take(fd, f"{folder}: another process has it")
            if os.path.samestat(os.fstat(fd), folder.stat()):
                folder.chmod(0o1733)  # the lab's servers are other users: as in /tmp, they find and make files
                return folder
        except (FileNotFoundError, UserError):  # another start removes it, because it was not locked yet
            continue
        except OSError:  # for example, a file system without locks
            folder.rmdir()
            raise


def _remove_leftovers(place: Path) -> None:
    """Remove the folders of this user that nobody holds."""
    for folder in place.glob(f"{PREFIX}*"):
        with contextlib.suppress(OSError, UserError):
            fd = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC)
            try:
                locks.take(fd, f"{folder}: its process lives")
                if os.fstat(fd).st_uid == os.geteuid():
                    shutil.rmtree(folder, ignore_errors=True)
            finally:
                os.close(fd)


def _remove(folder: Path, owner: int) -> None:
    if os.getpid() == owner:
        shutil.rmtree(folder, ignore_errors=True)
