"""The shared C headers compiled for user space: bpf/user/library.c behind ctypes, NumPy arrays in and out."""

from __future__ import annotations

import ctypes
import os
from functools import lru_cache

import numpy as np

from .build import build
from .layouts import N_FEATURES, ROW, STRUCTS

WITH_LOGITS = ("nn_q16", "nn_fused")  # classifiers whose logits are integers


@lru_cache
def library(optimise: str = "-O2") -> ctypes.CDLL:
    """Return bpf/user/library.c as a loaded library.

    Parameters
    ----------
    optimise : str
        The optimisation flag; the released code was built with -O0.
    """
    lib = ctypes.CDLL(str(build("user/library.c", "library", ("-shared", "-fPIC", optimise))), use_errno=True)
    for name in ("row", *STRUCTS):
        getattr(lib, f"ids_sizeof_{name}").restype = ctypes.c_uint64
    lib.ids_test_runs.restype = ctypes.c_uint64
    return lib


def _pointer(array: np.ndarray | bytes) -> ctypes.c_void_p:
    return ctypes.c_void_p(
        np.frombuffer(array, np.uint8).ctypes.data if isinstance(array, bytes) else array.ctypes.data
    )


def parse(frames: np.ndarray, sizes: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Run bpf/parse.h over Ethernet frames.

    Parameters
    ----------
    frames : ndarray of shape (n, stride), uint8
        One frame a row, padded.
    sizes : ndarray of shape (n,), uint32
        Length of each [byte].

    Returns
    -------
    rows : ndarray of shape (n,), dtype ROW
        The fields of the packet, where there is one.
    reasons : ndarray of shape (n,), int8
        Indices into REASONS.
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
    """Run bpf/flow.h over packets in the order of arrival.

    Parameters
    ----------
    rows : ndarray of shape (n_packets,), dtype ROW

    Returns
    -------
    x : ndarray of shape (n_packets, 12), int64
        x1..x12 after each packet, Q16 (Sec. IV-C).
    flow : ndarray of shape (n_packets,), uint64
        Number of the packet's flow, counted from 0 in the order of first packets.
    """
    rows = np.ascontiguousarray(rows, ROW)
    x = np.zeros((len(rows), N_FEATURES), np.int64)
    flow = np.zeros(len(rows), np.uint64)
    if library().ids_extract(_pointer(rows), ctypes.c_uint64(len(rows)), _pointer(x), _pointer(flow)):
        raise MemoryError("no memory for the flow table")
    return x, flow


def predict(
    struct: str, params: bytes, n_classes: int, x: np.ndarray, optimise: str = "-O2"
) -> tuple[np.ndarray | None, np.ndarray]:
    """Classify feature vectors by the C of a classifier.

    Parameters
    ----------
    struct : str
        Name of the C struct, of `layouts.STRUCTS`.
    params : bytes
        The struct (`models.model.Model.params`).
    n_classes : int
        2 or 7.
    x : ndarray of shape (n, 12), int64
        Features, Q16.
    optimise : str
        The compiler's optimisation flag.

    Returns
    -------
    logits : ndarray of shape (n, n_classes), int64, or None
        Y^(L): Q16 of "nn_q16", 32 fractional bits of "nn_fused"; None of the others, which have no integer logits.
    classes : ndarray of shape (n,), uint8
    """
    x = np.ascontiguousarray(x, np.int64)
    logits = np.zeros((len(x), n_classes), np.int64) if struct in WITH_LOGITS else None
    classes, n = np.zeros(len(x), np.uint8), ctypes.c_uint64(len(x))
    function = getattr(library(optimise), f"ids_predict_{struct}")
    function(
        _pointer(params), ctypes.c_int(n_classes), _pointer(x), n, None if logits is None else _pointer(logits),
        _pointer(classes),
    )  # fmt: skip
    return logits, classes


def test_runs(program: int, packets: np.ndarray, sizes: np.ndarray) -> None:
    """Run a loaded BPF program once on each packet, inside the kernel and in place.

    Parameters
    ----------
    program : int
        File descriptor of the program.
    packets : ndarray of shape (n, stride), uint8
        One packet a row; the program's changes stay in it.
    sizes : ndarray of shape (n,), uint32
        Length of each [byte].

    Raises
    ------
    OSError
        If the kernel refuses a run.
    """
    n, stride = packets.shape
    done = library().ids_test_runs(
        ctypes.c_int(program), _pointer(packets), ctypes.c_uint64(stride), _pointer(sizes), ctypes.c_uint64(n)
    )
    if done < n:
        raise OSError(ctypes.get_errno(), "BPF_PROG_TEST_RUN: " + os.strerror(ctypes.get_errno()))
