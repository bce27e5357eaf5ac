"""What root writes into a checkout of somebody else belongs to that user: by sudo, in JupyterLab, in papermill.

A file gets its owner when it is written, so that also after a kill -9 nothing stays that the user cannot change. What
other programs write, such as papermill, gets it when the process begins and when it ends.
"""

from __future__ import annotations

import atexit
import contextlib
import os
import sys
from pathlib import Path

from .config import ROOT
from .temporary import use_own_folder

NOT_OURS = (".git", ".venv")  # folders that this package writes nothing into
SBIN = ("/usr/sbin", "/sbin")  # where programs are that an ordinary user's PATH does not name


def prepare_process(root: Path = ROOT) -> None:
    """Let this process and its children find programs in /usr/sbin, and give what they write to the checkout's owner.

    Their temporary files are in a folder of their own.

    Parameters
    ----------
    root : Path
        The checkout.
    """
    use_own_folder()
    path = os.environ.get("PATH", os.defpath).split(":")
    os.environ["PATH"] = ":".join([*path, *(folder for folder in SBIN if folder not in path)])
    if _foreign(root):
        sys.dont_write_bytecode = True  # it would be root's, and what is compiled already is read all the same
        os.environ["PYTHONDONTWRITEBYTECODE"] = "1"
        give_all(root)
        atexit.register(give_all, root)


def give(path: Path, root: Path = ROOT) -> None:
    """Give a file of root, and the folders in which it is, to the checkout's owner; elsewhere nothing is changed."""
    if _foreign(root) and path.is_relative_to(root):
        for one in (path, *path.parents):
            if one == root:
                break
            _give(str(one), root)


def give_all(root: Path = ROOT) -> None:
    """Give everything in a checkout that is root's to the checkout's owner, except in NOT_OURS."""
    for _, folders, names, fd in os.fwalk(root):
        folders[:] = [name for name in folders if name not in NOT_OURS]
        for name in (*folders, *names):
            _give(name, root, fd)


def _foreign(root: Path) -> bool:
    """Return whether this process is root and the checkout is another user's."""
    return os.geteuid() == 0 and root.stat().st_uid != 0


def _give(name: str, root: Path, fd: int | None = None) -> None:
    owner = root.stat()
    with contextlib.suppress(OSError):  # it is gone, or the file system has no owners
        if os.stat(name, dir_fd=fd, follow_symlinks=False).st_uid == 0:
            os.chown(name, owner.st_uid, owner.st_gid, dir_fd=fd, follow_symlinks=False)
