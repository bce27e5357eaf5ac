"""Say at once what is missing: root, or a program."""

from __future__ import annotations

import os
import shutil

from .config import UserError


def require_root(what: str) -> None:
    """Raise UserError unless this process is root.

    Parameters
    ----------
    what : str
        What needs it, as the subject of the sentence.
    """
    if os.geteuid() != 0:
        raise UserError(
            f"{what} needs root (network namespaces and BPF): run it with sudo. Notebooks 01 to 03 and 06, "
            "extract, train and the user-space parity run without."
        )


def require_programs(*programs: str, remedy: str = "make system") -> None:
    """Raise UserError naming the first program that is not installed, and the command that installs it."""
    for program in programs:
        if shutil.which(program) is None:
            raise UserError(f"the program {program!r} is not installed: run '{remedy}'")
