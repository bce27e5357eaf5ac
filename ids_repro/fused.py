"""Arithmetic "fused": our integer net, whose decisions are those of the float net as nearly as int8 weights allow.

Three things keep what the paper's arithmetic loses. Activations have as many levels as the lanes of a SWAR word leave
them (687 and 511 instead of 127). A feature has a multiplier and a shift of its own, so that an interval of hours and
a flag keep the same relative precision. And weights are not rounded one by one: they are chosen to make the column's
sums, over the calibration data and with the quantized inputs it really gets, nearest to the float net's.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from .config import UserError
from .dataset import MinMax
from .quantize import INT8_MAX, clip, round_shift, to_fixed

INPUT_MAX, HIDDEN_MAX = 687, 511  # largest |activation| of layer 1 and of the others, as in bpf/int_mlp_fused.h
REQUANT_BITS = 32
MUL_BITS = 15  # a feature's multiplier is below 2^15, so that its product with a range below 2^47 stays below 2^62
SWEEPS = 50  # of the coordinate descent, which mostly ends after three


@dataclass(frozen=True)
class FusedMlp:
    """The net in arithmetic fused.

    The error of an activation is at most half a level plus what the multiplier's rounding adds: below
    1/(2 * 687) + 2^-14 of a feature's range, below 1/(2 * 511) + 2^-12 of the threshold in a hidden layer; values
    beyond the threshold are clipped.

    Parameters
    ----------
    min_, range_ : ndarray of shape (12,), int64
        Smallest value and width of each feature, Q16.
    mul, shift : ndarray of shape (12,), int64
        687/range as mul / 2^shift.
    requant : list of ndarray of shape (M_l,), int64
        Each column's multiplier, 32 fractional bits: into the next layer's units, or in the last into one unit for all.
    weights : list of ndarray of shape (M_{l-1}, M_l), int8
    """

    min_: np.ndarray
    range_: np.ndarray
    mul: np.ndarray
    shift: np.ndarray
    requant: list[np.ndarray]
    weights: list[np.ndarray]

    @property
    def n_classes(self) -> int:
        """2 or 7."""
        return self.weights[-1].shape[1]

    def inputs(self, x: np.ndarray) -> np.ndarray:
        """First activations of features of shape (n, 12), int64, Q16."""
        return (clip(x - self.min_, self.range_) * self.mul + (1 << (self.shift - 1))) >> self.shift

    def logits(self, x: np.ndarray) -> np.ndarray:
        """Logits of features of shape (n, 12), int64, Q16; int64 of shape (n, n_classes), 32 fractional bits."""
        a = self.inputs(x)
        for w, mul in zip(self.weights[:-1], self.requant[:-1], strict=True):
            a = requantise(a @ w.astype(np.int64), mul)
        return a @ self.weights[-1].astype(np.int64) * self.requant[-1]

    def predict(self, x: np.ndarray) -> np.ndarray:
        """The first class of the largest logit; int64 of shape (n,)."""
        return self.logits(x).argmax(axis=1)


def requantise(total: np.ndarray, mul: np.ndarray) -> np.ndarray:
    """min(max(total * mul / 2^32, 0), 511): dequantise, ReLU and quantise in one."""
    return np.minimum(round_shift(np.maximum(total, 0) * mul, REQUANT_BITS), HIDDEN_MAX)


def fit_column(gram: np.ndarray, cross: np.ndarray, start: np.ndarray, step: float) -> np.ndarray:
    """Choose one column's int8 weights by least squares.

    Minimises the mean of (x_float w - step x_q w_q)^2 over the calibration data by coordinate descent from the rounded
    weights. (Rounding to serve the layer's output instead of each weight: Nagel et al., ICML 2020.)

    Parameters
    ----------
    gram : ndarray of shape (K, K)
        Mean of x_q^T x_q.
    cross : ndarray of shape (K,)
        Mean of x_q^T x_float w.
    start : ndarray of shape (K,)
        The float weights.
    step : float
        Weight of one unit of int8.

    Returns
    -------
    ndarray of shape (K,), int8
    """
    w = np.clip(np.round(start / step), -INT8_MAX, INT8_MAX)
    for _ in range(SWEEPS):
        before = w.copy()
        for k in np.flatnonzero(np.diag(gram) > 0):
            rest = cross[k] - step * (gram[k] @ w - gram[k, k] * w[k])
            w[k] = np.clip(np.round(rest / (step * gram[k, k])), -INT8_MAX, INT8_MAX)
        if np.array_equal(w, before):
            break
    return w.astype(np.int8)


def quantize_fused(weights: list[np.ndarray], scaler: MinMax, alpha: list[float], x: np.ndarray) -> FusedMlp:
    """Quantize a trained net into arithmetic fused.

    Parameters
    ----------
    weights : list of ndarray of shape (M_{l-1}, M_l)
        W^(l) of the float net.
    scaler : MinMax
        Fitted on the training part.
    alpha : list of float
        Threshold of each layer's input; the first is not used, since the input's range is known.
    x : ndarray of shape (n, 12), int64
        Features of the calibration data, Q16.

    Raises
    ------
    UserError
        If a feature spans 2^31 units or more.
    """
    if np.any(scaler.range_ >= 1 << 47):
        raise UserError("a feature spans 2^31 units or more: fused cannot quantise it without overflow")
    shift = MUL_BITS - 1 - np.floor(np.log2(INPUT_MAX / scaler.range_)).astype(np.int64)
    mul = np.round(INPUT_MAX / scaler.range_ * 2.0**shift).astype(np.int64)
    net = FusedMlp(scaler.min_, scaler.range_, mul, shift, [], [])
    exact, levels, unit = scaler.transform(x), net.inputs(x), 1.0 / INPUT_MAX
    for layer, w in enumerate(weights):
        step = np.abs(w).max(axis=0) / INT8_MAX
        step[step == 0] = 1.0  # a dead column
        seen = levels * unit
        gram, cross = seen.T @ seen / len(x), seen.T @ (exact @ w) / len(x)
        columns = [fit_column(gram, cross[:, j], w[:, j], step[j]) for j in range(w.shape[1])]
        net.weights.append(np.stack(columns, axis=1))
        last = layer == len(weights) - 1
        following = 1.0 if last else alpha[layer + 1] / HIDDEN_MAX
        net.requant.append(to_fixed(unit * step / following, REQUANT_BITS))
        if not last:
            levels = requantise(levels @ net.weights[-1].astype(np.int64), net.requant[-1])
            exact, unit = np.maximum(exact @ w, 0), following
    if max(requant.max() for requant in net.requant) >= 1 << 42:
        raise UserError("a layer of the net overflows int64: its thresholds are too far apart")
    return net
