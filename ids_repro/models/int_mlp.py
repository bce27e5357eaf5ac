"""Float models -> integer models, and their NumPy inference: the reference that the C equals bit for bit."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from sklearn.tree import DecisionTreeClassifier

from ..config import UserError
from ..data.dataset import MinMax, as_float
from ..data.features import Q

INT8_MAX = 127  # 2^(b-1) - 1 of Eq. (1)
S_BITS, DEQUANT_BITS = 46, 32  # fractional bits of s and of 1/(sigma sigma_weight), as in bpf/int_mlp.h
TREE_DEPTH = 5
ALWAYS_LEFT = np.iinfo(np.int64).max


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


@dataclass(frozen=True)
class IntMlp:
    """The net in arithmetic q16: int64, 16 fractional bits, int8 products (Sec. IV-C, steps k4 to k6).

    Error bound: where Eq. (1) clips nothing, inputs x_k of a layer that are off by e_k are off by f_k = e_k + alpha/254
    once they are int8 (half a level), and column j by at most

        sum_k (f_k |w_kj| + (|x_k| + f_k) alpha_w,j / 254) + 2^-12,

    half a level of each weight and the roundings of the fixed-point steps; ReLU adds nothing. From e_k = 2^-16 of the
    normalised features it follows layer by layer to each logit. A value that is clipped adds |x_k| - alpha to its f_k.

    Parameters
    ----------
    min_, range_, s : ndarray of shape (12,), int64
        Normalisation: smallest value and width (Q16), and 1/width with 46 fractional bits.
    sigma : ndarray of shape (3,), int64
        Scale factor of each layer's input, Eq. (1), Q16.
    dequant : list of ndarray of shape (M_l,), int64
        1/(sigma sigma_weight) of each column, Eq. (2), 32 fractional bits.
    weights : list of ndarray of shape (M_{l-1}, M_l), int8
        W_q^(l).
    """

    min_: np.ndarray
    range_: np.ndarray
    s: np.ndarray
    sigma: np.ndarray
    dequant: list[np.ndarray]
    weights: list[np.ndarray]

    @property
    def n_classes(self) -> int:
        """2 or 7."""
        return self.weights[-1].shape[1]

    def logits(self, x: np.ndarray) -> np.ndarray:
        """Y^(L) of features of shape (n, 12), int64, Q16; int64 of shape (n, n_classes), Q16."""
        a = round_shift(clip(x - self.min_, self.range_) * self.s, S_BITS)  # k4
        for layer, w in enumerate(self.weights):
            q = clip(round_shift(a * self.sigma[layer], 2 * Q), INT8_MAX)  # k5-1, Eq. (1)
            y = q @ w.astype(np.int64)  # k5-2
            a = round_shift(y * self.dequant[layer], DEQUANT_BITS - Q)  # k5-3, Eq. (2)
            if layer < len(self.weights) - 1:
                a = np.maximum(a, 0)  # k5-4
        return a

    def predict(self, x: np.ndarray) -> np.ndarray:
        """Step k6: the first class of the largest logit; int64 of shape (n,)."""
        return self.logits(x).argmax(axis=1)


def require_finite(parameters: list[np.ndarray]) -> None:
    """Refuse a net with NaN or infinite parameters.

    Raises
    ------
    UserError
        If it has any.
    """
    if not all(np.isfinite(p).all() for p in parameters):
        raise UserError("a weight of the net is not finite: train it again")


def quantize_mlp(weights: list[np.ndarray], scaler: MinMax, alpha: list[float], alpha_w: list[np.ndarray]) -> IntMlp:
    """Quantize a trained net (Sec. IV-B, step u2).

    Parameters
    ----------
    weights : list of ndarray of shape (M_{l-1}, M_l)
        W^(l) of the float net.
    scaler : MinMax
        Fitted on the training part.
    alpha : list of float
        Threshold of each layer's input.
    alpha_w : list of ndarray of shape (M_l,)
        Threshold of each column of weights.

    Raises
    ------
    UserError
        If a weight or threshold is not finite, or a value would not fit into int64 on the way.
    """
    require_finite([*weights, np.asarray(alpha), *alpha_w])
    sigma = to_fixed(INT8_MAX / np.asarray(alpha), Q)
    if np.any(sigma < 1) or sigma[0] >= 1 << 45:
        raise UserError(f"a threshold is beyond 16-bit fixed point: {', '.join(f'{a:g}' for a in alpha)}")
    weights_q, dequant = [], []
    for layer, (w, a_w) in enumerate(zip(weights, alpha_w, strict=True)):
        sigma_w = INT8_MAX / np.asarray(a_w, np.float64)
        weights_q.append(np.clip(np.round(w * sigma_w), -INT8_MAX, INT8_MAX).astype(np.int8))
        dequant.append(to_fixed(1.0 / (sigma[layer] / (1 << Q) * sigma_w), DEQUANT_BITS))
    if np.any(scaler.range_ >= 1 << 47):
        raise UserError("a feature spans 2^31 units or more: q16 cannot normalise it without overflow")
    s = to_fixed((1 << Q) / scaler.range_, S_BITS)
    net = IntMlp(scaler.min_, scaler.range_, s, sigma, dequant, weights_q)
    _check_range(net)
    return net


def _check_range(net: IntMlp) -> None:
    """Bound every product by the weights themselves: none may reach 2^62."""
    for layer, (w, d) in enumerate(zip(net.weights, net.dequant, strict=True)):
        y = INT8_MAX * np.abs(w.astype(np.int64)).sum(axis=0).astype(float) * d
        following = net.sigma[layer + 1] if layer + 1 < len(net.weights) else 1
        if max(y.max(), y.max() / 2 ** (DEQUANT_BITS - Q) * following) >= 2.0**62:
            raise UserError(f"layer {layer + 1} of the net overflows int64: its thresholds are too far apart")


@dataclass(frozen=True)
class IntTree:
    """The tree as a complete binary tree of depth 5 on Q16 features.

    Parameters
    ----------
    threshold : ndarray of shape (32,), int64
        Of node i = 1..31, Q16: x <= threshold goes to node 2i, otherwise to 2i + 1. Entry 0 is unused.
    feature : ndarray of shape (32,), uint8
    leaf : ndarray of shape (32,), uint8
        Class of node 32 + i.
    """

    threshold: np.ndarray
    feature: np.ndarray
    leaf: np.ndarray

    def predict(self, x: np.ndarray) -> np.ndarray:
        """Classes of features of shape (n, 12), int64, Q16; int64 of shape (n,)."""
        node = np.ones(len(x), np.int64)
        for _ in range(TREE_DEPTH):
            node = 2 * node + (x[np.arange(len(x)), self.feature[node]] > self.threshold[node])
        return self.leaf[node - len(self.leaf)].astype(np.int64)


def integer_threshold(threshold: np.ndarray) -> np.ndarray:
    """Largest Q16 value that scikit-learn sends left at a float threshold.

    scikit-learn rounds the feature to float32 and asks ``float32(x) <= threshold``. Both steps are monotone, so one
    integer divides left from right; it is found by bisection over what scikit-learn itself would do.
    """
    low = np.full(len(threshold), -1, np.int64)  # goes left: no feature is negative
    high = np.full(len(threshold), 1 << 62, np.int64)  # goes right
    while np.any(high - low > 1):
        middle = low + (high - low) // 2
        left = as_float(middle).astype(np.float32) <= threshold
        low, high = np.where(left, middle, low), np.where(left, high, middle)
    return low


def quantize_tree(tree: DecisionTreeClassifier) -> IntTree:
    """Turn a fitted scikit-learn tree into integers; it decides exactly as the tree does.

    Raises
    ------
    UserError
        If the tree is deeper than 5.
    """
    t = tree.tree_
    if t.max_depth > TREE_DEPTH:
        raise UserError(f"the tree has depth {t.max_depth}; the kernel's has {TREE_DEPTH}")
    size = 1 << TREE_DEPTH
    out = IntTree(np.full(size, ALWAYS_LEFT), np.zeros(size, np.uint8), np.zeros(size, np.uint8))
    limits = integer_threshold(t.threshold)

    def place(source: int, node: int) -> None:
        leaf = t.children_left[source] < 0
        if node >= size:
            out.leaf[node - size] = tree.classes_[t.value[source, 0].argmax()]
            return
        if not leaf:
            out.threshold[node], out.feature[node] = limits[source], t.feature[source]
        place(source if leaf else t.children_left[source], 2 * node)
        place(source if leaf else t.children_right[source], 2 * node + 1)

    place(0, 1)
    return out
