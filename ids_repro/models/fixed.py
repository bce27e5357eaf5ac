"""Fixed-point arithmetic: the NumPy twin of bpf/fixed.h, and what both integer nets need."""

from __future__ import annotations

import numpy as np

from ..config import UserError
from ..native.layouts import Hidden, Q

NO_FLAG = 2**63 - 1  # score at which a model that is no detector flags a flow: none reaches it
INT8_MAX = 127  # 2^(b-1) - 1 of Eq. (1)
RANGE_END = 1 << 47  # a feature's range is below this, so that no product with it overflows int64


def to_fixed(value: np.ndarray | float, bits: int) -> np.ndarray:
    """Convert to fixed point by Eq. (3): round(value * 2^bits), int64 of the same shape."""
    return np.round(np.asarray(value, np.float64) * 2.0**bits).astype(np.int64)


def round_shift(value: np.ndarray, bits: int) -> np.ndarray:
    """Return value / 2^bits rounded to the nearest integer, halves upwards, as ids_round_shift of bpf/fixed.h does.

    Parameters
    ----------
    value : ndarray of any shape, int64
        What is divided.
    bits : int
        At least 1.
    """
    return (value + (1 << (bits - 1))) >> bits


def clip(value: np.ndarray, limit: np.ndarray | int) -> np.ndarray:
    """Clip values to [-limit, limit], as ids_clip of bpf/fixed.h does. Differences and sums wrap on overflow as there.

    Parameters
    ----------
    value : ndarray of any shape, int64
        What is clipped.
    limit : ndarray or int
        Not negative; it is broadcast to the shape of the values.
    """
    value = np.where(limit - value < 0, limit, value)
    return np.where(value + limit < 0, -limit, value)


def log2(value: np.ndarray) -> np.ndarray:
    """Return log2(1 + value) in Q16, as ids_log2 of bpf/fixed.h does.

    Between powers of two it is a straight line, which is at most 0.0861 too low.

    Parameters
    ----------
    value : ndarray of any shape, int64
        Not negative, Q16.
    """
    u = value.astype(np.uint64) + np.uint64(1 << Q)
    whole = np.full(u.shape, 63 - Q, np.int64)
    for bits in (32, 16, 8, 4, 2, 1):
        free = u >> np.uint64(64 - bits) == 0
        u, whole = np.where(free, u << np.uint64(bits), u), np.where(free, whole - bits, whole)
    return (whole << Q) + (u << np.uint64(1) >> np.uint64(64 - Q)).astype(np.int64)


def hidden_of(weights: list[np.ndarray]) -> Hidden:
    """Return the widths of the hidden layers of a net with these weights, shape (M_{l-1}, M_l) each."""
    return tuple(w.shape[1] for w in weights[:-1])


def range_fault(min_: np.ndarray, range_: np.ndarray) -> str | None:
    """Return in words what is wrong with the normalisation of an integer net; None if it is within its limits.

    Parameters
    ----------
    min_, range_ : ndarray of shape (12,), int64
        Smallest value and width of each feature, Q16.
    """
    if np.any(min_ <= -(1 << 62)) or np.any(min_ >= 1 << 62) or np.any(range_ < 1) or np.any(range_ >= RANGE_END):
        return "the smallest value or the width of a feature is out of range: the width is from 1 to 2^47 - 1"
    return None


def require_finite(parameters: list[np.ndarray]) -> None:
    """Refuse a net with a parameter that is NaN or infinite.

    Parameters
    ----------
    parameters : list of ndarray
        Weights and thresholds of any shape.

    Raises
    ------
    UserError
        If one of them is not finite.
    """
    if not all(np.isfinite(p).all() for p in parameters):
        raise UserError("a weight of the net is not finite: train it again")


def tie_pairs(layers: list[np.ndarray]) -> list[np.ndarray]:
    """Copy each even column of the last layer over the odd column that follows it, so that pairs of logits are equal.

    With seven classes the last column has no partner and stays as it is.

    Parameters
    ----------
    layers : list of ndarray of shape (..., M_l)
        What each column of each layer has, such as its weights.

    Returns
    -------
    list of ndarray
        The layers, with a copy in place of the last one.
    """
    return [*layers[:-1], layers[-1][..., np.arange(layers[-1].shape[-1]) // 2 * 2]]
