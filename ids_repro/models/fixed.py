"""Fixed-point arithmetic: the NumPy twin of bpf/fixed.h."""

from __future__ import annotations

import numpy as np

from ..config import UserError

INT8_MAX = 127  # 2^(b-1) - 1 of Eq. (1)


def to_fixed(value: np.ndarray | float, bits: int) -> np.ndarray:
    """Eq. (3): round(value * 2^bits), as int64."""
    return np.round(np.asarray(value, np.float64) * 2.0**bits).astype(np.int64)


def round_shift(value: np.ndarray, bits: int) -> np.ndarray:
    """Value / 2^bits rounded to nearest, halves upwards; the twin of ids_round_shift in bpf/fixed.h."""
    return (value + (1 << (bits - 1))) >> bits


def clip(value: np.ndarray, limit: np.ndarray | int) -> np.ndarray:
    """Hold values to [-limit, limit]; the twin of ids_clip in bpf/fixed.h, wrapping where that wraps."""
    value = np.where(limit - value < 0, limit, value)
    return np.where(value + limit < 0, -limit, value)


def require_finite(parameters: list[np.ndarray]) -> None:
    """Refuse a net with NaN or infinite parameters.

    Raises
    ------
    UserError
        If it has any.
    """
    if not all(np.isfinite(p).all() for p in parameters):
        raise UserError("a weight of the net is not finite: train it again")


def tie_pairs(layers: list[np.ndarray]) -> list[np.ndarray]:
    """Return a net's layers with each even column of the last one copied to its right, so that pairs of logits tie.

    Parameters
    ----------
    layers : list of ndarray of shape (..., M_l)
        Something that each column has, such as its weights. Of seven classes the last stays alone.
    """
    return [*layers[:-1], layers[-1][..., np.arange(layers[-1].shape[-1]) // 2 * 2]]
