"""The MLP in arithmetic q16, the paper's: quantization, and the NumPy twin of bpf/int_mlp.h."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from ..config import UserError
from ..native.layouts import MLP_Q16, Q
from .fixed import INT8_MAX, clip, require_finite, round_shift, tie_pairs, to_fixed
from .scaling import MinMax

S_BITS, DEQUANT_BITS = 46, 32  # fractional bits of s and of 1/(sigma sigma_weight), as in bpf/int_mlp.h


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

    def to_bytes(self) -> bytes:
        """Return the struct ids_nn_q16 that C reads; what the net does not use is zero."""
        out = np.zeros((), MLP_Q16)
        for name, value in (("min", self.min_), ("range", self.range_), ("s", self.s), ("sigma", self.sigma)):
            out[name][: len(value)] = value
        for layer, (w, d) in enumerate(zip(self.weights, self.dequant, strict=True)):
            out["dequant"][layer, : len(d)] = d
            out["w"][layer, : w.shape[1], : w.shape[0]] = w.T
        return out.tobytes()

    def tied(self) -> IntMlp:
        """Return a net whose classes have equal logits in pairs, for tests of argmax; see `tie_pairs`."""
        return replace(self, weights=tie_pairs(self.weights), dequant=tie_pairs(self.dequant))


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
