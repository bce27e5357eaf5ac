"""The way to BPF: bcc, which only this module imports, small programs beside the main one, system calls."""

from __future__ import annotations

import ctypes
import os
import sys
from functools import cache
from types import ModuleType

from ..config import UserError
from . import headers

DIST_PACKAGES = "/usr/lib/python3/dist-packages"


@cache
def import_bcc() -> ModuleType:
    """Import the distribution's bcc, which is no package of the virtual environment.

    Raises
    ------
    UserError
        Without bcc or kernel headers.
    """
    source = headers.kernel_source()
    if source:
        os.environ["BCC_KERNEL_SOURCE"] = str(source)
    return _imported()


def libbcc() -> ctypes.CDLL:
    """libbcc, for what compiles nothing and so needs no kernel headers; UserError without bcc."""
    return _imported().lib


def _imported() -> ModuleType:
    if DIST_PACKAGES not in sys.path:
        sys.path.append(DIST_PACKAGES)  # last: the environment's own packages win
    try:
        import bcc
    except ImportError as error:
        raise UserError(f"BCC is not installed ({error}): run 'make system'") from None
    return bcc
