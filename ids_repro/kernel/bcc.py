"""The way to BPF: bcc, which only this module imports, small programs beside the main one, system calls."""

from __future__ import annotations

import ctypes
import os
import platform
import sys
from functools import cache
from types import ModuleType
from typing import Any

from ..config import BPF, UserError
from . import headers

DIST_PACKAGES = "/usr/lib/python3/dist-packages"
SYSCALLS = {"x86_64": {"bpf": 321, "membarrier": 324}, "aarch64": {"bpf": 280, "membarrier": 283}}
PROG_TEST_RUN = 10


class TestRun(ctypes.Structure):
    """The part of union bpf_attr that BPF_PROG_TEST_RUN reads."""

    _fields_ = [
        ("prog_fd", ctypes.c_uint32),
        ("retval", ctypes.c_uint32),
        ("data_size_in", ctypes.c_uint32),
        ("data_size_out", ctypes.c_uint32),
        ("data_in", ctypes.c_uint64),
        ("data_out", ctypes.c_uint64),
        ("repeat", ctypes.c_uint32),
        ("duration", ctypes.c_uint32),
        ("ctx", ctypes.c_uint64 * 3),
        ("flags", ctypes.c_uint32),
        ("cpu", ctypes.c_uint32),
        ("batch_size", ctypes.c_uint32),
        ("pad", ctypes.c_uint32),
    ]


@cache
def bcc() -> ModuleType:
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


def library() -> ctypes.CDLL:
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


class SmallProgram:
    """An XDP program that is a file of its own in bpf/, with a function of the same name.

    Parameters
    ----------
    name : str
        ``name.bpf.c`` holds ``int name(struct xdp_md *)``.

    Raises
    ------
    UserError
        Without BCC or headers, or if the kernel refuses the program.
    """

    def __init__(self, name: str) -> None:
        library = bcc()
        try:
            self._bpf = library.BPF(src_file=bytes(BPF / f"{name}.bpf.c"), cflags=[f"-I{BPF}"])
            self.fd = self._bpf.load_func(name.encode(), library.BPF.XDP).fd
        except Exception as error:  # BCC raises nothing narrower
            raise UserError(f"BCC could not build or load bpf/{name}.bpf.c: {error}") from None

    def table(self, name: str, **types: type[ctypes.Structure]) -> Any:
        """A map by its name; ``leaftype=`` says how one entry is decoded."""
        return self._bpf.get_table(name, **types)

    def map_fd(self, name: str) -> int:
        """File descriptor of a map."""
        return bcc().lib.bpf_table_fd(self._bpf.module, name.encode())

    def close(self) -> None:
        """Release the program and its maps, unless they are attached somewhere."""
        self._bpf.cleanup()


def syscall(name: str, *args: object) -> int:
    """A system call that neither libc nor BCC 0.26 wraps; OSError if it fails."""
    numbers = SYSCALLS.get(platform.machine())
    if numbers is None:
        raise UserError(f"{name}(2) is not wired for {platform.machine()}, only for {', '.join(SYSCALLS)}")
    done = _libc().syscall(numbers[name], *args)
    if done < 0:
        raise OSError(ctypes.get_errno(), f"{name}(2): {os.strerror(ctypes.get_errno())}")
    return done


@cache
def _libc() -> ctypes.CDLL:
    return ctypes.CDLL(None, use_errno=True)
