"""Take entries out of a ring buffer of the kernel, which BCC's C library maps and reads; convert their times."""

from __future__ import annotations

import ctypes
import time

import numpy as np

from .bcc import libbcc

_CALLBACK = ctypes.CFUNCTYPE(ctypes.c_int, ctypes.c_void_p, ctypes.c_void_p, ctypes.c_int)


def take(fd: int, most: int, wait_ms: int) -> bytes:
    """Return the entries that wait in a ring buffer, one after the other, and remove them there.

    Parameters
    ----------
    fd : int
        File descriptor of the map.
    most : int
        Take this many at most.
    wait_ms : int
        How long to wait for an entry if there is none [ms].

    Raises
    ------
    OSError
        If the ring buffer cannot be mapped.
    UserError
        If BCC is not installed.
    """
    taken: list[bytes] = []

    @_CALLBACK
    def keep(_context: int, data: int, size: int) -> int:
        taken.append(ctypes.string_at(data, size))
        return 0 if len(taken) < most else -1

    lib = libbcc()
    ring = lib.bpf_new_ringbuf(fd, keep, None)
    if not ring:
        raise OSError("the ring buffer could not be mapped")
    try:
        lib.bpf_poll_ringbuf(ring, wait_ms)
    finally:
        lib.bpf_free_ringbuf(ring)
    return b"".join(taken)


def wall_ns(now_ns: np.ndarray) -> np.ndarray:
    """Convert times of the kernel's monotonic clock [ns] to the time of day [ns since 1970]."""
    return now_ns.astype(np.int64) + (time.time_ns() - time.monotonic_ns())
