"""The MLP in arithmetic fused, whose intervals are logarithms: the NumPy twin of bpf/int_mlp_log2.h."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from ..data.features import FEATURES
from .fixed import log2
from .int_mlp_fused import FusedMlp, quantize_fused

if TYPE_CHECKING:
    from .scaling import MinMax

# The features that become logarithms: they span from microseconds to minutes.
INTERVALS = [FEATURES.index(name) for name in ("iat", "iat_mean", "iat_dev")]


def with_log2(x: np.ndarray) -> np.ndarray:
    """Return features with log2(1 + interval in us) in place of each interval.

    Parameters
    ----------
    x : ndarray of shape (n, 12), int64
        Features, Q16.

    Returns
    -------
    ndarray of shape (n, 12), int64
        Q16.
    """
    out = x.copy()
    out[:, INTERVALS] = log2(x[:, INTERVALS])
    return out


class Log2Mlp(FusedMlp):
    """The net in arithmetic fused, whose intervals are logarithms; see `FusedMlp`."""

    struct = "nn_log2"

    def inputs(self, x: np.ndarray) -> np.ndarray:
        """Quantise features of shape (n, 12), int64, Q16, to the first layer's activations, int64."""
        return super().inputs(with_log2(x))


def quantize_log2(weights: list[np.ndarray], scaler: MinMax) -> Log2Mlp:
    """Quantize a net that was trained on `with_log2` features.

    Parameters
    ----------
    weights : list of ndarray of shape (M_{l-1}, M_l)
        W^(l) of the float net.
    scaler : MinMax
        Fitted on `with_log2` features of the training part.

    Raises
    ------
    UserError
        As `quantize_fused` does.
    """
    net = quantize_fused(weights, scaler)
    return Log2Mlp(net.min_, net.range_, net.mul, net.shift, net.weights)
