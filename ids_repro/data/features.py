"""The names of the paper's twelve features (Sec. IV-C), and their unit."""

from __future__ import annotations

import numpy as np

from ..native.layouts import Q

# x1..x12 in the paper's order (Sec. IV-B, IV-C), which is that of enum ids_feature in bpf/flow.h.
FEATURES = (
    "sport",
    "dport",
    "proto",
    "len",  # IP total length [byte]
    "dir",  # 1: the packet goes the same way as the flow's first packet; 0: the other way
    "iat",  # time since the flow's previous packet [us]
    "len_mean",  # mean of `len` over the flow's packets so far
    "dir_mean",
    "iat_mean",
    "len_dev",  # |x4 - x7|
    "dir_dev",  # |x5 - x8|
    "iat_dev",  # |x6 - x9|
)


def as_float(x: np.ndarray) -> np.ndarray:
    """Convert features from Q16 to float64 in their own units.

    Parameters
    ----------
    x : ndarray of int64, any shape
        Q16: the value times 65536.

    Returns
    -------
    ndarray of float64, same shape
        Bytes for lengths, microseconds for times.
    """
    return x / (1 << Q)
