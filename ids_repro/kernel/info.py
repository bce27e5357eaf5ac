"""What the kernel says of a loaded program or map, and the stack that a program's instructions use."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator

import numpy as np

from .bpf_syscall import enable_run_time_stats, object_info

# The part of struct bpf_prog_info (linux/bpf.h) that is read, and what lies between.
INFO = np.dtype(
    {
        "names": ["id", "jited_bytes", "xlated_bytes", "run_time_ns", "run_cnt", "verified_insns"],
        "formats": ["u4", "u4", "u4", "u8", "u8", "u4"],
        "offsets": [4, 16, 20, 192, 200, 216],
        "itemsize": 256,
    }
)
MAP_INFO = np.dtype([("type", "u4"), ("id", "u4"), ("key_size", "u4"), ("value_size", "u4"), ("max_entries", "u4")])
_INSTRUCTION = np.dtype([("code", "u1"), ("registers", "u1"), ("offset", "i2"), ("imm", "i4")])
_FRAME = 10  # r10, the frame pointer
_LDX, _ST, _STX = 1, 2, 3  # instruction classes, the low three bits of the code
_MOV_X, _ADD_K = 0xBF, 0x07


def prog_info(fd: int) -> np.void:
    """Ask the kernel about a program; dtype INFO."""
    return object_info(fd, INFO)


def map_info(fd: int) -> np.void:
    """Ask the kernel about a map; dtype MAP_INFO."""
    return object_info(fd, MAP_INFO)


@contextlib.contextmanager
def timed_runs() -> Iterator[None]:
    """Let the kernel time every run of every program (run_time_ns, run_cnt) while the block runs."""
    fd = enable_run_time_stats()
    try:
        yield
    finally:
        os.close(fd)


def stack_bytes(code: bytes) -> int:
    """Bytes of the BPF stack that a program uses: the lowest address it makes from the frame pointer.

    Parameters
    ----------
    code : bytes
        Its instructions before the verifier's changes.
    """
    code = np.frombuffer(code, _INSTRUCTION)
    source, target, kind = code["registers"] >> 4, code["registers"] & 15, code["code"] & 7
    reads = code["offset"][(kind == _LDX) & (source == _FRAME)]
    writes = code["offset"][((kind == _ST) | (kind == _STX)) & (target == _FRAME)]
    copied = (code["code"][:-1] == _MOV_X) & (source[:-1] == _FRAME)  # r2 = r10, then r2 += -8
    added = (code["code"][1:] == _ADD_K) & (target[1:] == target[:-1])
    taken = code["imm"][1:][copied & added]
    return -int(min(0, *(part.min(initial=0) for part in (reads, writes, taken))))
