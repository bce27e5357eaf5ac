"""Refuse early, in one sentence, what cannot work without root or without a program that is not installed."""

from __future__ import annotations

import os
import shutil

from .config import UserError


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
            f"{what} needs root (network namespaces and BPF): run it with sudo. Notebooks 01 to 03 and 06, "
            "extract, figures, and parity and accuracy with --user-space run without root."
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
