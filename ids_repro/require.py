"""Refuse early, in one sentence, what cannot work without root or without a program that is not installed."""

from __future__ import annotations

import os
import re
import shutil
from pathlib import Path

from .config import UserError

_EVERYBODY = ["0", "0", "4294967295"]  # the map of user ids outside of every user namespace


def require_root(what: str) -> None:
    """Raise UserError unless this process is root.

    Parameters
    ----------
    what : str
        What needs root, as the subject of the error's sentence.

    Raises
    ------
    UserError
        If another user runs this process.
    """
    if os.geteuid() != 0:
        raise UserError(
            f"{what} needs root (network namespaces and BPF): run it with sudo. The other notebooks, extract, "
            "figures, and parity and accuracy with --user-space run without root."
        )


def require_programs(*programs: str, remedy: str = "make system") -> None:
    """Raise UserError unless all programs are installed.

    Parameters
    ----------
    *programs : str
        Names, as on the command line.
    remedy : str
        The command that installs them.

    Raises
    ------
    UserError
        For the first program that is not installed; the text names it and the remedy.
    """
    for program in programs:
        if shutil.which(program) is None:
            raise UserError(f"the program {program!r} is not installed: run '{remedy}'")


# linux/capability.h: the number of each capability that something here needs, and for what.
CAPABILITIES = {
    "CAP_BPF": (39, "to load programs and to open their maps"),
    "CAP_NET_ADMIN": (12, "to put programs on interfaces"),
    "CAP_PERFMON": (38, "to load programs that calculate with pointers"),
    "CAP_SYS_ADMIN": (21, "to mount the BPF file system, to enter namespaces, and to time programs"),
    "CAP_SYS_PTRACE": (19, "to look into the namespaces of other users"),
}
FOR_BPF = ("CAP_BPF", "CAP_NET_ADMIN", "CAP_PERFMON")  # what a program of the network needs


def capable(name: str) -> bool:
    """Return whether this thread has a capability; CAP_SYS_ADMIN includes CAP_BPF and CAP_PERFMON, as in the kernel."""
    status = Path("/proc/thread-self/status").read_text()
    held = int(re.search(r"^CapEff:\s*(\w+)", status, re.MULTILINE)[1], 16)
    names = {name, "CAP_SYS_ADMIN"} if name in ("CAP_BPF", "CAP_PERFMON") else {name}
    return any(held >> CAPABILITIES[one][0] & 1 for one in names)


def require_capabilities(what: str, *names: str) -> None:
    """Raise UserError unless this process has all of these capabilities, in which case it need not be root.

    Parameters
    ----------
    what : str
        What needs them, as the subject of the error's sentence.
    *names : str
        Keys of `CAPABILITIES`.

    Raises
    ------
    UserError
        If one is missing, or if the process is in a user namespace, whose capabilities do not count for BPF.
    """
    if Path("/proc/self/uid_map").read_text().split() != _EVERYBODY:
        raise UserError(f"{what} needs BPF, which the kernel does not give in a user namespace: run it outside of it")
    missing = [f"{name} ({CAPABILITIES[name][1]})" for name in names if not capable(name)]
    if missing:
        raise UserError(
            f"{what} needs {' and '.join(missing)}: run it with sudo, or give it {', '.join(names)} as README.md says"
        )
