"""Call the parser, the flow table and the classifiers of bpf/ in user space, with NumPy arrays in and out.

bpf/user/library.c wraps the headers that the kernel program uses too. This module loads it through ctypes.
"""

from __future__ import annotations

import ctypes
import os
from functools import lru_cache

import numpy as np

from .build import build
from .layouts import FOUND, N_FEATURES, PAPER_NET, ROW, STRUCTS, WAYS, Hidden, net_flags


@lru_cache
def library(optimise: str = "-O2", hidden: Hidden = PAPER_NET) -> ctypes.CDLL:
    """Compile and load bpf/user/library.c, once for each optimisation flag and shape of the nets.

    Parameters
    ----------
    optimise : str
        Compiler's optimisation flag. The authors' released code was built with -O0.
    hidden : tuple of int
        Widths of the hidden layers of its nets.

    Returns
    -------
    CDLL
        The library with its functions ``ids_...``.
    """
    flags = ("-shared", "-fPIC", optimise, *net_flags(hidden))
    lib = ctypes.CDLL(str(build("user/library.c", "library", flags)), use_errno=True)
    lib.ids_test_runs.restype = ctypes.c_uint64
    return lib


def _pointer(array: np.ndarray | bytes) -> ctypes.c_void_p:
    return ctypes.c_void_p(
        np.frombuffer(array, np.uint8).ctypes.data if isinstance(array, bytes) else array.ctypes.data
    )


def parse(frames: np.ndarray, sizes: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Parse Ethernet frames with bpf/parse.h.

    Parameters
    ----------
    frames : ndarray of shape (n, stride), uint8
        One frame per row, padded to the same length.
    sizes : ndarray of shape (n,), uint32
        Length of each frame without the padding [byte].

    Returns
    -------
    rows : ndarray of shape (n,), dtype ROW
        The header fields of each packet whose reason is "ok".
    reasons : ndarray of shape (n,), int8
        What the parser made of each frame, as an index into `layouts.REASONS`.
    """
    frames, sizes = np.ascontiguousarray(frames, np.uint8), np.ascontiguousarray(sizes, np.uint32)
    n, stride = frames.shape
    rows, reasons = np.zeros(n, ROW), np.zeros(n, np.int8)
    library().ids_parse_frames(
        _pointer(frames),
        ctypes.c_uint64(stride),
        _pointer(sizes),
        ctypes.c_uint64(n),
        _pointer(rows),
        _pointer(reasons),
    )
    return rows, reasons


def extract(rows: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Compute the features of packets with bpf/flow.h.

    Parameters
    ----------
    rows : ndarray of shape (n_packets,), dtype ROW
        Packets in order of arrival.

    Returns
    -------
    x : ndarray of shape (n_packets, 12), int64
        Features x1..x12 after each packet, Q16 (Sec. IV-C).
    flow : ndarray of shape (n_packets,), uint64
        Number of the packet's flow. Flows are numbered from 0 in the order of their first packets.

    Raises
    ------
    MemoryError
        If the flow table does not fit into memory.
    """
    rows = np.ascontiguousarray(rows, ROW)
    x = np.zeros((len(rows), N_FEATURES), np.int64)
    flow = np.zeros(len(rows), np.uint64)
    if library().ids_extract(_pointer(rows), ctypes.c_uint64(len(rows)), _pointer(x), _pointer(flow)):
        raise MemoryError("no memory for the flow table")
    return x, flow


def extract_fixed(rows: np.ndarray, flows: int, secret: int) -> tuple[np.ndarray, np.ndarray, dict[str, int]]:
    """Run bpf/flow_table.h, the kernel's flow table, over packets in the order of arrival.

    Parameters
    ----------
    rows : ndarray of shape (n_packets,), dtype ROW
    flows : int
        How many flows the table has room for: a power of two.
    secret : int
        Key of the hash, 64 bits. With the kernel program's, the same flows are evicted.

    Returns
    -------
    x : ndarray of shape (n_packets, 12), int64
        x1..x12 after each packet, Q16.
    first : ndarray of shape (n_packets,), uint8
        1 where a packet started a flow.
    found : dict of str to int
        Packets by what became of their flow: keys of `layouts.FOUND`.

    Raises
    ------
    ValueError
        If there can be no table of that size.
    """
    if flows < WAYS or flows & (flows - 1):
        raise ValueError(f"a flow table of {flows} flows: use a power of two from {WAYS} on")
    rows = np.ascontiguousarray(rows, ROW)
    x, first = np.zeros((len(rows), N_FEATURES), np.int64), np.zeros(len(rows), np.uint8)
    found, u64 = np.zeros(len(FOUND), np.uint64), ctypes.c_uint64
    function = library().ids_extract_fixed
    if function(_pointer(rows), u64(len(rows)), u64(flows), u64(secret), _pointer(x), _pointer(first), _pointer(found)):
        raise MemoryError("no memory for the flow table")
    return x, first, dict(zip(FOUND, found.tolist(), strict=True))


def predict(
    struct: str, params: bytes, n_classes: int, x: np.ndarray, optimise: str = "-O2", hidden: Hidden = PAPER_NET
) -> tuple[np.ndarray | None, np.ndarray]:
    """Classify feature vectors with the C of a classifier.

    Parameters
    ----------
    struct : str
        Name of the classifier, a key of `layouts.STRUCTS`.
    params : bytes
        Its parameters as the C struct, from `models.model.Model.params`.
    n_classes : int
        2 or 7.
    x : ndarray of shape (n, 12), int64
        Features, Q16.
    optimise : str
        Compiler's optimisation flag; see `library`.
    hidden : tuple of int
        Widths of the hidden layers of the model's net, `models.model.Model.hidden`.

    Returns
    -------
    logits : ndarray of shape (n, n_classes), int64, or None
        Y^(L). Those of "nn_q16" are Q16. Those of "nn_fused" share one unit, which depends on the model. The other
        classifiers have no integer logits, so this is None.
    classes : ndarray of shape (n,), uint8
        Class of each vector.
    """
    x = np.ascontiguousarray(x, np.int64)
    logits = np.zeros((len(x), n_classes), np.int64) if STRUCTS[struct].logits else None
    classes, n = np.zeros(len(x), np.uint8), ctypes.c_uint64(len(x))
    function = getattr(library(optimise, hidden), f"ids_predict_{struct}")
    function(
        _pointer(params), ctypes.c_int(n_classes), _pointer(x), n, None if logits is None else _pointer(logits),
        _pointer(classes),
    )  # fmt: skip
    return logits, classes


def test_runs(program: int, packets: np.ndarray, sizes: np.ndarray, repeats: np.ndarray) -> None:
    """Run a loaded BPF program on each packet by BPF_PROG_TEST_RUN.

    Parameters
    ----------
    program : int
        File descriptor of the program.
    packets : ndarray of shape (n, stride), uint8
        One packet per row. The program's changes to a packet are written back into its row.
    sizes : ndarray of shape (n,), uint32
        Length of each packet [byte].
    repeats : ndarray of shape (n,), uint32
        How often the program runs on each packet. Each run gets the packet as the run before it left it.

    Raises
    ------
    OSError
        If the kernel refuses a run. The packets before that one have been run.
    """
    n, stride = packets.shape
    sized = ctypes.c_int(program), _pointer(packets), ctypes.c_uint64(stride), _pointer(sizes), _pointer(repeats)
    done = library().ids_test_runs(*sized, ctypes.c_uint64(n))
    if done < n:
        raise OSError(ctypes.get_errno(), "BPF_PROG_TEST_RUN: " + os.strerror(ctypes.get_errno()))
