"""Commands that run with some capabilities and no others, of an ordinary user or of root."""

import subprocess
import sys
from pathlib import Path

import pytest

from ids_repro import config

NOBODY = 65534


def only(held: tuple[str, ...], user: int = NOBODY) -> list[str]:
    """Return the words that let a command run as a user with these capabilities, which stand before the command.

    What root may have is bounded; an ordinary user has what is ambient.
    """
    names = ",".join(["-all", *(f"+{name.removeprefix('CAP_').lower()}" for name in held)])
    if user == 0:
        return ["setpriv", f"--inh-caps={names}", f"--bounding-set={names}"]
    drop = ["setpriv", "--reuid", str(user), "--regid", str(user), "--clear-groups", "--no-new-privs"]
    return drop + [f"--{which}={names}" for which in ("inh-caps", "ambient-caps", "bounding-set")]


def require_readable(checkout: Path = config.ROOT) -> None:
    """Skip a test if an ordinary user can't read a checkout, or run this Python."""
    argv = [*only(()), "test", "-r", checkout / "ids_repro/config.py", "-a", "-x", sys.executable]
    if subprocess.run(argv).returncode:
        pytest.skip("this checkout lies where other users cannot read it")
