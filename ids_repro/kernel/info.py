"""Ask the kernel about loaded programs and maps, and work out the stack that a program's instructions use."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator

import numpy as np

from .bpf_syscall import enable_run_time_stats, object_info

# The fields of struct bpf_prog_info (linux/bpf.h) that are read, at their offsets.
INFO = np.dtype(
    {
        "names": ["id", "jited_bytes", "xlated_bytes", "name", "run_time_ns", "run_cnt", "verified_insns"],
        "formats": ["u4", "u4", "u4", "S16", "u8", "u8", "u4"],
        "offsets": [4, 16, 20, 64, 192, 200, 216],
        "itemsize": 256,
    }
)
# The beginning of struct bpf_map_info (linux/bpf.h).
MAP_INFO = np.dtype([("type", "u4"), ("id", "u4"), ("key_size", "u4"), ("value_size", "u4"), ("max_entries", "u4")])
# struct bpf_insn (linux/bpf.h): the low half of ``registers`` is the target, the high half the source.
_INSTRUCTION = np.dtype([("code", "u1"), ("registers", "u1"), ("offset", "i2"), ("imm", "i4")])
_FRAME = 10  # r10, the frame pointer
_LDX, _ST, _STX = 1, 2, 3  # instruction classes: the low three bits of the code
_MOV_X, _ADD_K = 0xBF, 0x07  # codes of "register = register" and "register += constant"


def prog_info(fd: int) -> np.void:
    """Return what the kernel says about a program.

    Parameters
    ----------
    fd : int
        File descriptor of the program.

    Returns
    -------
    numpy.void, dtype INFO
        The program's id; the size of its machine code and of its BPF code [byte]; its name; the time of all its runs
        [ns] and their number, which the kernel counts inside `timed_runs`; the instructions that the verifier walked
        through.
    """
    return object_info(fd, INFO)


def map_info(fd: int) -> np.void:
    """Return what the kernel says about a map.

    Parameters
    ----------
    fd : int
        File descriptor of the map.

    Returns
    -------
    numpy.void, dtype MAP_INFO
        The map's type and id; the size of a key and of a value [byte]; the number of its entries.
    """
    return object_info(fd, MAP_INFO)


@contextlib.contextmanager
def timed_runs() -> Iterator[None]:
    """Let the kernel time every run of every program while the block runs: `prog_info` then tells the sums."""
    fd = enable_run_time_stats()
    try:
        yield
    finally:
        os.close(fd)


def stack_bytes(code: bytes) -> int:
    """Return how much of the BPF stack a program uses, from the lowest address that it makes of the frame pointer.

    Parameters
    ----------
    code : bytes
        The program's instructions before the verifier changed them.

    Returns
    -------
    int
        The stack [byte].
    """
    code = np.frombuffer(code, _INSTRUCTION)
    source, target, kind = code["registers"] >> 4, code["registers"] & 15, code["code"] & 7
    reads = code["offset"][(kind == _LDX) & (source == _FRAME)]
    writes = code["offset"][((kind == _ST) | (kind == _STX)) & (target == _FRAME)]
    # An address on the stack is made by two instructions, such as r2 = r10 and then r2 += -8.
    copied = (code["code"][:-1] == _MOV_X) & (source[:-1] == _FRAME)
    added = (code["code"][1:] == _ADD_K) & (target[1:] == target[:-1])
    taken = code["imm"][1:][copied & added]
    return -int(min(0, *(part.min(initial=0) for part in (reads, writes, taken))))
