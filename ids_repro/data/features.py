"""The paper's twelve features by name (Sec. IV-C) and their unit."""

from __future__ import annotations

import numpy as np

from ..native.layouts import Q

# x1..x12 in the paper's order (Sec. IV-B, IV-C), as enum ids_feature of bpf/flow.h has them.
FEATURES = (
    "sport",
    "dport",
    "proto",
    "len",  # IP total length [byte]
    "dir",  # 1: the same way as the flow's first packet
    "iat",  # time since the flow's last packet [us]
    "len_mean",
    "dir_mean",
    "iat_mean",
    "len_dev",  # |x4 - x7|, and so on
    "dir_dev",
    "iat_dev",
)


def as_float(x: np.ndarray) -> np.ndarray:
    """Q16 features as float64 in their own units."""
    return x / (1 << Q)
