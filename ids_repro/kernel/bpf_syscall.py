"""The calls of bpf(2) and membarrier(2) that neither libc nor BCC 0.26 wraps: map entries, pins, facts, test runs.

Each structure below is the part of union bpf_attr (linux/bpf.h) that one command reads.
"""

from __future__ import annotations

import ctypes
import errno
import os
import platform
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import numpy as np

from ..config import UserError

NUMBERS = {"x86_64": {"bpf": 321, "membarrier": 324}, "aarch64": {"bpf": 280, "membarrier": 283}}
MAP_CREATE, MAP_LOOKUP_ELEM, MAP_UPDATE_ELEM, OBJ_PIN, OBJ_GET, PROG_TEST_RUN = 0, 1, 2, 6, 7, 10
OBJ_GET_INFO_BY_FD, MAP_LOOKUP_BATCH, MAP_LOOKUP_AND_DELETE_BATCH, ENABLE_STATS = 15, 24, 25, 32
MAP_TYPE_ARRAY, STATS_RUN_TIME, MEMBARRIER_GLOBAL = 2, 0, 1


def _fields(**types: type) -> list[tuple[str, type]]:
    return list(types.items())


_U32, _U64 = ctypes.c_uint32, ctypes.c_uint64


class _Create(ctypes.Structure):
    _fields_ = _fields(kind=_U32, key_size=_U32, value_size=_U32, max_entries=_U32, rest=_U32 * 12)


class _Element(ctypes.Structure):
    _fields_ = _fields(fd=_U64, key=_U64, value=_U64, flags=_U64)


class _Batch(ctypes.Structure):
    _fields_ = _fields(
        in_batch=_U64, out_batch=_U64, keys=_U64, values=_U64, count=_U32, fd=_U32, element_flags=_U64, flags=_U64
    )


class _Pin(ctypes.Structure):
    _fields_ = _fields(path=_U64, fd=_U32, flags=_U32)


class _Info(ctypes.Structure):
    _fields_ = _fields(fd=_U32, size=_U32, info=_U64)


class TestRun(ctypes.Structure):
    """What BPF_PROG_TEST_RUN is told, and what it returns: ``retval`` and the mean ``duration`` of a run [ns]."""

    _fields_ = _fields(
        prog_fd=_U32,
        retval=_U32,
        data_size_in=_U32,
        data_size_out=_U32,
        data_in=_U64,
        data_out=_U64,
        repeat=_U32,
        duration=_U32,
        ctx=_U64 * 3,
        flags=_U32,
        cpu=_U32,
        batch_size=_U32,
        pad=_U32,
    )


@cache
def _libc() -> ctypes.CDLL:
    return ctypes.CDLL(None, use_errno=True)


def _syscall(name: str, *args: object) -> int:
    numbers = NUMBERS.get(platform.machine())
    if numbers is None:
        raise UserError(f"{name}(2) is not wired for {platform.machine()}, only for {', '.join(NUMBERS)}")
    done = _libc().syscall(numbers[name], *args)
    if done < 0:
        raise OSError(ctypes.get_errno(), f"{name}(2): {os.strerror(ctypes.get_errno())}")
    return done


def _bpf(command: int, attr: ctypes.Structure) -> int:
    return _syscall("bpf", command, ctypes.byref(attr), ctypes.sizeof(attr))


def test_run(attr: TestRun) -> TestRun:
    """Run a loaded program on given data (BPF_PROG_TEST_RUN) and return the same structure with the results.

    Raises
    ------
    OSError
        If the kernel refuses; InterruptedError if a signal ended it.
    """
    _bpf(PROG_TEST_RUN, attr)
    return attr


def read_element(fd: int, key: int, leaves: np.ndarray) -> np.ndarray:
    """Fill ``leaves`` with an array map's entry: one item, or one for each possible CPU."""
    index = _U32(key)
    _bpf(MAP_LOOKUP_ELEM, _Element(fd, ctypes.addressof(index), leaves.ctypes.data))
    return leaves


def write_element(fd: int, key: int, leaves: bytes | np.ndarray) -> None:
    """Set an array map's entry; see `read_element`."""
    index = _U32(key)
    value = np.frombuffer(leaves, np.uint8) if isinstance(leaves, bytes) else leaves
    _bpf(MAP_UPDATE_ELEM, _Element(fd, ctypes.addressof(index), value.ctypes.data))


def read_all(fd: int, keys: np.ndarray, leaves: np.ndarray, delete: bool = False) -> Iterator[int]:
    """Read a hash map in batches into ``keys`` and ``leaves``, which hold one batch at a time.

    Parameters
    ----------
    fd : int
    keys, leaves : ndarray of shape (n,)
        Room for a batch; items of the map's key and value size.
    delete : bool
        Delete each entry as it is read.

    Yields
    ------
    int
        How many entries of the two arrays the kernel has just filled.
    """
    token = _U64()
    attr = _Batch(0, ctypes.addressof(token), keys.ctypes.data, leaves.ctypes.data, len(keys), fd)
    while True:
        try:
            _bpf(MAP_LOOKUP_AND_DELETE_BATCH if delete else MAP_LOOKUP_BATCH, attr)
        except OSError as error:
            if error.errno != errno.ENOENT:  # which says that these were the last
                raise
            yield attr.count
            return
        yield attr.count
        attr.in_batch, attr.count = attr.out_batch, len(keys)


def create_array(value_bytes: int) -> int:
    """Create an array map of one entry and return its file descriptor, which is the caller's to close."""
    return _bpf(MAP_CREATE, _Create(MAP_TYPE_ARRAY, 4, value_bytes, 1))


def pin(fd: int, path: Path) -> None:
    """Pin a map or program to a path in the BPF file system."""
    name = ctypes.create_string_buffer(bytes(path))
    _bpf(OBJ_PIN, _Pin(ctypes.addressof(name), fd))


def open_pin(path: Path) -> int:
    """Open what is pinned to a path and return its file descriptor, which is the caller's to close."""
    name = ctypes.create_string_buffer(bytes(path))
    return _bpf(OBJ_GET, _Pin(ctypes.addressof(name)))


def object_info(fd: int, dtype: np.dtype) -> np.void:
    """Return what the kernel says of a map or program, as an item of a dtype that names the part that is wanted."""
    info = np.zeros(1, dtype)
    _bpf(OBJ_GET_INFO_BY_FD, _Info(fd, info.itemsize, info.ctypes.data))
    return info[0]


def enable_run_time_stats() -> int:
    """Let the kernel time every run of every program until the returned file descriptor is closed."""
    return _syscall("bpf", ENABLE_STATS, ctypes.byref(_U32(STATS_RUN_TIME)), ctypes.sizeof(_U32))


def wait_for_grace_period() -> None:
    """Wait until every program run that had begun before this call has ended (an RCU grace period, membarrier(2))."""
    _syscall("membarrier", MEMBARRIER_GLOBAL, 0, 0)
