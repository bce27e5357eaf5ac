"""Import the distribution's BCC. No other module imports it."""

from __future__ import annotations

import ctypes
import os
import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from functools import cache
from types import ModuleType
from typing import Any

from ..config import UserError
from . import headers

_REMEDY = "it must be the distribution's python3-bpfcc, for the Python of .venv: run 'make system venv'"
DIST_PACKAGES = "/usr/lib/python3/dist-packages"  # where Debian and Ubuntu install Python packages

_COMPILING = threading.Lock()
_CLONE_FS = 0x200  # of unshare(2): the current folder, the root and the umask


@cache
def import_bcc() -> ModuleType:
    """Import bcc, tell it where the kernel headers are, and return it.

    The distribution installs bcc for the system's Python; it is not on PyPI.

    Returns
    -------
    module
        The package bcc.

    Raises
    ------
    UserError
        If bcc or the kernel headers are not installed, or bcc cannot be imported.
    """
    source = headers.kernel_source()
    if source:
        os.environ["BCC_KERNEL_SOURCE"] = str(source)
    return _imported()


def compiled(source: bytes, flags: list[str]) -> Any:
    """Compile a C file, and return the ``bcc.BPF``; one thread at a time does.

    BCC changes to the folder of the kernel headers while it compiles. A thread of its own, which shares its current
    folder with no other, does so: the paths that other threads open meanwhile stay what they are.
    """

    def compile_here() -> Any:
        if ctypes.CDLL(None, use_errno=True).unshare(_CLONE_FS):
            raise OSError(ctypes.get_errno(), "cannot have a current folder of its own")
        return import_bcc().BPF(src_file=source, cflags=flags)

    with _COMPILING, ThreadPoolExecutor(1) as pool:
        return pool.submit(compile_here).result()


def libbcc() -> ctypes.CDLL:
    """Return the C library of BCC, for calls that compile nothing and so need no kernel headers.

    Raises
    ------
    UserError
        If bcc is not installed or cannot be imported.
    """
    return _imported().lib


def _imported() -> ModuleType:
    if DIST_PACKAGES not in sys.path:
        sys.path.append(DIST_PACKAGES)  # Last in the path, so that the environment's own packages win.
    try:
        import bcc
    except KeyboardInterrupt:
        raise
    except BaseException as error:  # one for another Python, or a broken C library, can fail in any way
        if isinstance(error, ModuleNotFoundError) and error.name == "bcc":
            raise UserError(f"BCC is not installed ({error}): run 'make system'") from None
        raise UserError(f"BCC cannot be imported ({type(error).__name__}: {error}); {_REMEDY}") from None
    if not hasattr(bcc, "BPF") or not hasattr(bcc, "lib"):
        raise UserError(f"{bcc.__file__} is another package than BCC; {_REMEDY}")
    return bcc
