"""Arithmetic "fused": our integer net, which decides as the float net does with a third of the paper's arithmetic.

Three things keep what the paper's arithmetic loses. A feature has a multiplier and a shift of its own, so that an
interval of hours and a flag keep the same relative precision. A column's unit is free, since ReLU(c y) = c ReLU(y):
each is scaled until the largest sum that it can make fills its lane of 32 bits, and the rows of the next layer's
weights take that unit back (cross-layer equalisation: Nagel et al., ICCV 2019). And with every column in such a unit,
one rounding shift requantises all of them, without a multiplier, a threshold or a clip.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from ..config import UserError
from ..native.layouts import LANE_BITS, LANES, MLP_FUSED, WORDS
from .fixed import require_finite, tie_pairs
from .scaling import MinMax

INPUT_MAX = 16383  # largest activation of layer 1
SHIFT = 16
HALF = 1 << (SHIFT - 1)
LANE_MAX = (1 << (LANE_BITS - 1)) - 1 - HALF  # of a column's sum, before it is rounded
MUL_BITS = 15  # a feature's multiplier is below 2^15, so that its product with a range below 2^47 stays below 2^62


@dataclass(frozen=True)
class FusedMlp:
    """The net in arithmetic fused.

    The error of an input is below 1/16383 + 2^-15 of its feature's range: one level, and the multiplier's rounding.
    A hidden activation adds half a level of at most 2^15, and K inputs of at most P levels add K P / 2 to a sum that
    may reach 2^31 by rounding the weights: below 2^-14 of the largest sum the column can make. Nothing is clipped but
    what lies outside a feature's range in training.

    Parameters
    ----------
    min_, range_ : ndarray of shape (12,), int64
        Smallest value and width of each feature, Q16.
    mul, shift : ndarray of shape (12,), int64
        16383/range as mul / 2^shift.
    weights : list of ndarray of shape (M_{l-1}, M_l), int64
        In units of their rows and columns; 14 to 18 bits.
    """

    min_: np.ndarray
    range_: np.ndarray
    mul: np.ndarray
    shift: np.ndarray
    weights: list[np.ndarray]

    @property
    def n_classes(self) -> int:
        """2 or 7."""
        return self.weights[-1].shape[1]

    def inputs(self, x: np.ndarray) -> np.ndarray:
        """Layer 1's activations of features of shape (n, 12), int64, Q16."""
        return (np.minimum(np.maximum(x - self.min_, 0), self.range_) * self.mul) >> self.shift

    def logits(self, x: np.ndarray) -> np.ndarray:
        """Logits of features of shape (n, 12), int64, Q16; int64 of shape (n, n_classes), one unit for all."""
        a = self.inputs(x)
        for w in self.weights[:-1]:
            a = requantise(a @ w)
        return a @ self.weights[-1]

    def predict(self, x: np.ndarray) -> np.ndarray:
        """The first class of the largest logit; int64 of shape (n,)."""
        return self.logits(x).argmax(axis=1)

    def bounds(self) -> list[np.ndarray]:
        """Largest |sum| that each column can make, whatever the features are; one array of shape (M_l,) a layer."""
        out, high = [], np.full(len(self.mul), INPUT_MAX)
        for w in self.weights:
            out.append(largest_sum(w, high))
            high = requantise(high @ np.maximum(w, 0))
        return out

    def to_bytes(self) -> bytes:
        """Return the struct ids_nn_fused that C reads; what the net does not use is zero.

        Raises
        ------
        UserError
            If a column's sum could leave its lane: the two columns of a word would mix.
        """
        if max(bound.max() for bound in self.bounds()) > LANE_MAX:
            raise UserError("a column of the net leaves its 32-bit lane: quantize the model again (notebook 03)")
        out = np.zeros((), MLP_FUSED)
        for name, value in {"min": self.min_, "range": self.range_, "mul": self.mul, "shift": self.shift}.items():
            out[name][: len(value)] = value
        for layer, w in enumerate(self.weights):
            out["w"][layer, : len(w)] = pack_lanes(w)
        return out.tobytes()

    def tied(self) -> FusedMlp:
        """Return a net whose classes have equal logits in pairs, for tests of argmax; see `tie_pairs`."""
        return replace(self, weights=tie_pairs(self.weights))


def largest_sum(w: np.ndarray, high: np.ndarray) -> np.ndarray:
    """Largest |sum of a_k w_kj| over activations a_k in [0, high_k]; shape (M,)."""
    return np.maximum(high @ np.maximum(w, 0), high @ np.maximum(-w, 0))


def requantise(total: np.ndarray) -> np.ndarray:
    """ReLU of round(total / 2^16), halves upwards: dequantise, ReLU and quantise in one."""
    return np.maximum((total + HALF) >> SHIFT, 0)


def quantize_fused(weights: list[np.ndarray], scaler: MinMax) -> FusedMlp:
    """Quantize a trained net into arithmetic fused. It needs no calibration data: every bound is known.

    Parameters
    ----------
    weights : list of ndarray of shape (M_{l-1}, M_l)
        W^(l) of the float net.
    scaler : MinMax
        Fitted on the training part.

    Raises
    ------
    UserError
        If a feature spans 2^31 units or more, or a weight is not finite.
    """
    if np.any(scaler.range_ >= 1 << 47):
        raise UserError("a feature spans 2^31 units or more: fused cannot quantise it without overflow")
    require_finite(weights)
    shift = MUL_BITS - 1 - np.floor(np.log2(INPUT_MAX / scaler.range_)).astype(np.int64)
    mul = np.round(INPUT_MAX / scaler.range_ * 2.0**shift).astype(np.int64)
    net = FusedMlp(scaler.min_, scaler.range_, mul, shift, [])
    unit, high = np.full(len(mul), 1.0 / INPUT_MAX), np.full(len(mul), INPUT_MAX)
    for layer, w in enumerate(weights):
        real = w * unit[:, None]
        room = LANE_MAX - high.sum() / 2  # what rounding the weights can add
        largest = largest_sum(real, high)
        if layer == len(weights) - 1:
            largest[:] = largest.max()  # logits are compared: one unit for all
        scale = room / np.where(largest > 0, largest, room)  # a dead column stays dead
        net.weights.append(np.round(real * scale).astype(np.int64))
        high = requantise(high @ np.maximum(net.weights[-1], 0))
        unit = 2.0**SHIFT / scale
    return net


def pack_lanes(weights: np.ndarray) -> np.ndarray:
    """Put two columns of weights, shape (K, M), into each 64-bit word, lanes of 32 bits; shape (K, 8), int64."""
    columns = np.zeros((len(weights), WORDS, LANES), np.int64)
    columns.reshape(len(weights), -1)[:, : weights.shape[1]] = weights
    return (columns << (LANE_BITS * np.arange(LANES))).sum(axis=2)
