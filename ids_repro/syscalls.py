"""System calls that neither libc nor BCC 0.26 wraps."""

from __future__ import annotations

import ctypes
import os
import platform

from .config import UserError

NUMBERS = {"x86_64": {"bpf": 321, "membarrier": 324}, "aarch64": {"bpf": 280, "membarrier": 283}}


def syscall(name: str, *args: object) -> int:
    """Make a system call by name; returns its value.

    Raises
    ------
    OSError
        If the kernel refuses.
    UserError
        On a machine whose numbers are not known here.
    """
    numbers = NUMBERS.get(platform.machine())
    if numbers is None:
        raise UserError(f"{name}(2) is not wired for {platform.machine()}, only for {', '.join(NUMBERS)}")
    libc = ctypes.CDLL(None, use_errno=True)
    done = libc.syscall(numbers[name], *args)
    if done < 0:
        raise OSError(ctypes.get_errno(), f"{name}(2): {os.strerror(ctypes.get_errno())}")
    return done
