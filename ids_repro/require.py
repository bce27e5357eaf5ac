"""Refuse early, in one sentence, what cannot work without root or without a program that is not installed."""

from __future__ import annotations

import os
import re
import shutil
from pathlib import Path
from typing import NamedTuple

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
    "CAP_SYS_ADMIN": (21, "to mount the BPF file system, to make and enter namespaces, and to time programs"),
    "CAP_NET_RAW": (13, "to send and to capture packets of any kind"),
    "CAP_SYS_NICE": (23, "to run what is measured before other work"),
    "CAP_NET_BIND_SERVICE": (10, "to serve on ports below 1024"),
    "CAP_SETUID": (7, "to let users log in to the lab's servers"),
    "CAP_SETGID": (6, "to let users log in to the lab's servers"),
    "CAP_CHOWN": (0, "to give files to the lab's users"),
    "CAP_DAC_OVERRIDE": (1, "to write in the folders of the lab's users"),
    "CAP_FOWNER": (3, "to set the modes of the terminals of the lab's users"),
    "CAP_SYS_PTRACE": (19, "to look into the namespaces of other users"),
}
FOR_BPF = ("CAP_BPF", "CAP_NET_ADMIN", "CAP_PERFMON")  # what a program of the network needs
FOR_SWEEP = (*FOR_BPF, "CAP_SYS_ADMIN", "CAP_NET_RAW", "CAP_SYS_NICE")
FOR_LAB = ("CAP_NET_ADMIN", "CAP_SYS_ADMIN", "CAP_NET_RAW", "CAP_NET_BIND_SERVICE", "CAP_SETUID", "CAP_SETGID")
FOR_LAB += ("CAP_CHOWN", "CAP_DAC_OVERRIDE", "CAP_FOWNER")


class Needs(NamedTuple):
    """What a command needs that an ordinary user does not have.

    Attributes
    ----------
    capabilities : tuple of str
        Keys of `CAPABILITIES`. Without root they have to be given to the command; root may be denied some, as in a
        container.
    root : bool
        Whether the user must be root too: names of namespaces, and files in /proc and /sys that it writes, are root's.
    unless : str
        With which options it needs nothing.
    """

    capabilities: tuple[str, ...]
    root: bool = False
    unless: str = ""


# By command; a command that is not here needs nothing.
COMMANDS = {
    **dict.fromkeys(("attach", "status", "swap", "samples", "detach", "bench"), Needs(FOR_BPF)),
    **dict.fromkeys(("parity", "accuracy"), Needs(FOR_BPF, unless="--user-space")),
    "sweep": Needs(FOR_SWEEP, root=True),
    "record": Needs(FOR_LAB, root=True),
    "reproduce": Needs(tuple(dict.fromkeys((*FOR_SWEEP, *FOR_LAB))), root=True, unless="--only 01, 02, 03 or 06"),
}


def require_rights(command: str, what: str) -> None:
    """Raise UserError unless this process has what a command needs; see `COMMANDS`.

    Parameters
    ----------
    command : str
        Its name.
    what : str
        What needs it, as the subject of the error's sentence.

    Raises
    ------
    UserError
        As `require_root` and `require_capabilities` do.
    """
    needs = COMMANDS[command]
    if needs.root:
        require_root(what)
    require_capabilities(what, *needs.capabilities)


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
    if set(names) & {*FOR_BPF} and Path("/proc/self/uid_map").read_text().split() != _EVERYBODY:
        raise UserError(f"{what} needs BPF, which the kernel does not give in a user namespace: run it outside of it")
    missing = [f"{name} ({CAPABILITIES[name][1]})" for name in names if not capable(name)]
    if missing:
        remedy = f"run it with sudo, or give it {', '.join(names)} as README.md says"
        if os.geteuid() == 0:
            remedy = "root is denied that here, as in a container: allow it there"
        raise UserError(f"{what} needs {' and '.join(missing)}: {remedy}")
