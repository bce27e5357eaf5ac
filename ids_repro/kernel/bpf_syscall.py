"""Call bpf(2) and membarrier(2) where neither libc nor BCC 0.26 does: map entries, pins, facts and test runs.

Each structure below is the part of union bpf_attr (linux/bpf.h) that one command reads. All functions raise OSError
if the kernel refuses the call, and UserError on an architecture whose system call numbers are not listed here.
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

# The numbers of the system calls, by architecture (asm/unistd.h).
NUMBERS = {"x86_64": {"bpf": 321, "membarrier": 324}, "aarch64": {"bpf": 280, "membarrier": 283}}
# Commands of bpf(2), without their prefix BPF_ (linux/bpf.h).
MAP_CREATE, MAP_LOOKUP_ELEM, MAP_UPDATE_ELEM, OBJ_PIN, OBJ_GET, PROG_TEST_RUN = 0, 1, 2, 6, 7, 10
PROG_ATTACH, PROG_DETACH, PROG_GET_FD_BY_ID, PROG_QUERY, LINK_CREATE = 8, 9, 13, 16, 28
OBJ_GET_INFO_BY_FD, MAP_LOOKUP_BATCH, MAP_LOOKUP_AND_DELETE_BATCH, ENABLE_STATS = 15, 24, 25, 32
TCX, BEFORE = {"ingress": 46, "egress": 47}, 1 << 3  # BPF_TCX_INGRESS, BPF_TCX_EGRESS, BPF_F_BEFORE
XDP, DRV_MODE = 37, 1 << 2  # BPF_XDP, XDP_FLAGS_DRV_MODE
_MOST_PROGRAMS = 64  # at a hook of TCX: BPF_MPROG_MAX
# BPF_MAP_TYPE_ARRAY, BPF_STATS_RUN_TIME, MEMBARRIER_CMD_GLOBAL.
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


class _Id(ctypes.Structure):
    _fields_ = _fields(number=_U32, following=_U32, flags=_U32)


class _Attach(ctypes.Structure):
    _fields_ = _fields(target=_U32, fd=_U32, kind=_U32, flags=_U32, replace=_U32, relative=_U32, revision=_U64)


class _Link(ctypes.Structure):
    _fields_ = _fields(fd=_U32, target=_U32, kind=_U32, flags=_U32)


class _Query(ctypes.Structure):
    _fields_ = _fields(
        target=_U32, kind=_U32, query=_U32, flags=_U32, ids=_U64, count=_U32, pad=_U32, more=_U64 * 3, revision=_U64
    )


class TestRun(ctypes.Structure):
    """The argument of BPF_PROG_TEST_RUN; see bpf(2).

    The caller sets the program, the packet (``data_in``, ``data_size_in``), room for the packet afterwards
    (``data_out``, ``data_size_out``) and the number of runs (``repeat``). The kernel sets ``retval``, the program's
    return value, and ``duration``, the mean time of a run [ns].
    """

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
        raise UserError(
            f"the number of {name}(2) on {platform.machine()} is not known here, only those on {', '.join(NUMBERS)}: "
            "add it to NUMBERS in ids_repro/kernel/bpf_syscall.py"
        )
    done = _libc().syscall(numbers[name], *args)
    if done < 0:
        raise OSError(ctypes.get_errno(), f"{name}(2): {os.strerror(ctypes.get_errno())}")
    return done


def _bpf(command: int, attr: ctypes.Structure) -> int:
    return _syscall("bpf", command, ctypes.byref(attr), ctypes.sizeof(attr))


def test_run(attr: TestRun) -> TestRun:
    """Run a loaded program on given data (BPF_PROG_TEST_RUN).

    Parameters
    ----------
    attr : TestRun
        The program and its data.

    Returns
    -------
    TestRun
        The same structure, with the results in it.

    Raises
    ------
    OSError
        If the kernel refuses; InterruptedError if a signal interrupted the runs.
    """
    _bpf(PROG_TEST_RUN, attr)
    return attr


def read_element(fd: int, key: int, leaves: np.ndarray) -> np.ndarray:
    """Read one entry of an array map.

    Parameters
    ----------
    fd : int
        File descriptor of the map.
    key : int
        Index of the entry.
    leaves : ndarray of shape (1,) or (possible CPUs,)
        Room for the entry: one item, or in a per-CPU map one for each CPU that the kernel may ever have.

    Returns
    -------
    ndarray
        `leaves`, filled.
    """
    index = _U32(key)
    _bpf(MAP_LOOKUP_ELEM, _Element(fd, ctypes.addressof(index), leaves.ctypes.data))
    return leaves


def write_element(fd: int, key: int, leaves: bytes | np.ndarray) -> None:
    """Write one entry of an array map; the parameters are those of `read_element`."""
    index = _U32(key)
    value = np.frombuffer(leaves, np.uint8) if isinstance(leaves, bytes) else leaves
    _bpf(MAP_UPDATE_ELEM, _Element(fd, ctypes.addressof(index), value.ctypes.data))


def read_all(fd: int, keys: np.ndarray, leaves: np.ndarray, delete: bool = False) -> Iterator[int]:
    """Read a hash map in batches; the two arrays hold one batch at a time.

    Parameters
    ----------
    fd : int
        File descriptor of the map.
    keys, leaves : ndarray of shape (n,)
        Room for a batch; the size of an item is that of the map's key or value.
    delete : bool
        Whether to delete each entry that is read.

    Yields
    ------
    int
        The number of entries in the batch that the kernel has just written to the beginning of both arrays.
    """
    token = _U64()
    attr = _Batch(0, ctypes.addressof(token), keys.ctypes.data, leaves.ctypes.data, len(keys), fd)
    while True:
        try:
            _bpf(MAP_LOOKUP_AND_DELETE_BATCH if delete else MAP_LOOKUP_BATCH, attr)
        except OSError as error:
            if error.errno != errno.ENOENT:
                raise
            # ENOENT is no error: the kernel says that this batch is the last.
            yield attr.count
            return
        yield attr.count
        attr.in_batch, attr.count = attr.out_batch, len(keys)


def create_array(value_bytes: int) -> int:
    """Create an array map of one entry.

    Parameters
    ----------
    value_bytes : int
        Size of the entry [byte].

    Returns
    -------
    int
        File descriptor of the map, which the caller closes.
    """
    return _bpf(MAP_CREATE, _Create(MAP_TYPE_ARRAY, 4, value_bytes, 1))


def pin(fd: int, path: Path) -> None:
    """Pin a map or program to a path in the BPF file system."""
    name = ctypes.create_string_buffer(bytes(path))
    _bpf(OBJ_PIN, _Pin(ctypes.addressof(name), fd))


def open_pin(path: Path) -> int:
    """Open the map or program that is pinned to a path and return its file descriptor, which the caller closes."""
    name = ctypes.create_string_buffer(bytes(path))
    return _bpf(OBJ_GET, _Pin(ctypes.addressof(name)))


def open_program(number: int) -> int:
    """Open the program with this id and return its file descriptor, which the caller closes; needs CAP_SYS_ADMIN."""
    return _bpf(PROG_GET_FD_BY_ID, _Id(number))


def object_info(fd: int, dtype: np.dtype) -> np.void:
    """Return what the kernel says about a map or program.

    Parameters
    ----------
    fd : int
        File descriptor of the map or program.
    dtype : dtype
        The wanted fields of struct bpf_map_info or bpf_prog_info; see `info.MAP_INFO` and `info.INFO`.

    Returns
    -------
    numpy.void, dtype `dtype`
    """
    info = np.zeros(1, dtype)
    _bpf(OBJ_GET_INFO_BY_FD, _Info(fd, info.itemsize, info.ctypes.data))
    return info[0]


def hold_xdp(fd: int, index: int) -> int:
    """Attach a program to an interface by native XDP until the caller closes the returned file descriptor, or ends."""
    return _bpf(LINK_CREATE, _Link(fd, index, XDP, DRV_MODE))


def enable_run_time_stats() -> int:
    """Let the kernel time every run of every program until the caller closes the returned file descriptor."""
    return _syscall("bpf", ENABLE_STATS, ctypes.byref(_U32(STATS_RUN_TIME)), ctypes.sizeof(_U32))


def wait_for_grace_period() -> None:
    """Wait until every program run that began before this call has ended: membarrier(2) waits an RCU grace period."""
    _syscall("membarrier", MEMBARRIER_GLOBAL, 0, 0)


def tcx_programs(index: int, hook: str) -> list[int]:
    """Return the ids of TCX's programs at an interface's "ingress" or "egress", in order; none before Linux 6.6."""
    ids = (_U32 * _MOST_PROGRAMS)()
    query = _Query(index, TCX[hook], ids=ctypes.addressof(ids), count=_MOST_PROGRAMS)
    try:
        _bpf(PROG_QUERY, query)
    except OSError as error:
        if error.errno not in (errno.EINVAL, errno.ENOENT):
            raise
        return []
    return list(ids[: query.count])


def attach_tcx(fd: int, index: int, hook: str) -> None:
    """Attach a program before all programs of TCX at a hook of an interface."""
    _bpf(PROG_ATTACH, _Attach(index, fd, TCX[hook], BEFORE))


def detach_tcx(fd: int, index: int, hook: str) -> None:
    """Take off what `attach_tcx` attached."""
    _bpf(PROG_DETACH, _Attach(index, fd, TCX[hook]))
