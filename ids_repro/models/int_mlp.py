"""The MLP in arithmetic q16, which is the paper's: its quantization, and the NumPy twin of bpf/int_mlp.h."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from ..config import UserError
from ..native.layouts import N_FEATURES, PAPER_NET, Hidden, Q, layer_shapes, mlp_q16
from .fixed import (
    INT8_MAX,
    RANGE_END,
    clip,
    hidden_of,
    range_fault,
    require_finite,
    round_shift,
    tie_pairs,
    to_fixed,
)
from .scaling import MinMax

S_BITS, DEQUANT_BITS = 46, 32  # bpf/int_mlp.h: fractional bits of s and of 1/(sigma sigma_weight)
SIGMA_END = 1 << 45  # the first layer's sigma is below this, so that a normalised feature times sigma does not overflow


@dataclass(frozen=True)
class IntMlp:
    """The net in arithmetic q16: int64 with 16 fractional bits, and products of int8 (Sec. IV-C, steps k4 to k6).

    Error bound: let the input x_k of a layer be off by at most e_k. Conversion to int8 adds half a level, so if Eq. (1)
    does not clip it, it is then off by at most f_k = e_k + alpha/254. Column j of the layer's output is off by at most

        sum_k (f_k |w_kj| + (|x_k| + f_k) alpha_w,j / 254) + 2^-12.

    Here alpha_w,j / 254 is half a level of a weight, and 2^-12 covers the roundings of the fixed-point steps. ReLU adds
    nothing. Normalised features have e_k = 2^-16, and the bound of each logit follows layer by layer. If Eq. (1) clips
    x_k, its f_k grows by |x_k| - alpha.

    Parameters
    ----------
    min_, range_, s : ndarray of shape (12,), int64
        Normalisation of each feature: smallest value and width, both Q16, and 1/width with 46 fractional bits.
    sigma : ndarray of shape (n_layers,), int64
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
        """Number of classes, 2 or 7."""
        return self.weights[-1].shape[1]

    def logits(self, x: np.ndarray) -> np.ndarray:
        """Compute the logits Y^(L).

        Parameters
        ----------
        x : ndarray of shape (n, 12), int64
            Features, Q16.

        Returns
        -------
        ndarray of shape (n, n_classes), int64
            Logits, Q16.
        """
        a = round_shift(clip(x - self.min_, self.range_) * self.s, S_BITS)  # k4
        for layer, w in enumerate(self.weights):
            q = clip(round_shift(a * self.sigma[layer], 2 * Q), INT8_MAX)  # k5-1, Eq. (1)
            y = q @ w.astype(np.int64)  # k5-2
            a = round_shift(y * self.dequant[layer], DEQUANT_BITS - Q)  # k5-3, Eq. (2)
            if layer < len(self.weights) - 1:
                a = np.maximum(a, 0)  # k5-4
        return a

    def predict(self, x: np.ndarray) -> np.ndarray:
        """Classify features of shape (n, 12), int64, Q16: step k6.

        Returns
        -------
        ndarray of shape (n,), int64
            Class with the largest logit; of equal ones, the first.
        """
        return self.logits(x).argmax(axis=1)

    def to_bytes(self) -> bytes:
        """Return the net as the struct ids_nn_q16 that C reads; entries that the net does not use are zero."""
        out = np.zeros((), mlp_q16(hidden_of(self.weights)))
        for name, value in (("min", self.min_), ("range", self.range_), ("s", self.s), ("sigma", self.sigma)):
            out[name][: len(value)] = value
        for layer, (w, d) in enumerate(zip(self.weights, self.dequant, strict=True)):
            out["dequant"][layer, : len(d)] = d
            out["w"][layer, : w.shape[1], : w.shape[0]] = w.T
        return out.tobytes()

    @classmethod
    def from_struct(cls, struct: np.ndarray, n_classes: int, hidden: Hidden = PAPER_NET) -> IntMlp:
        """Make a net of the struct that `to_bytes` wrote.

        Parameters
        ----------
        struct : ndarray of shape (), dtype mlp_q16(hidden)
            The struct ids_nn_q16.
        n_classes : int
            2 or 7.
        hidden : tuple of int
            Widths of the hidden layers.
        """
        shapes = layer_shapes(n_classes, hidden)
        return cls(
            *(struct[name][:N_FEATURES].copy() for name in ("min", "range", "s")),
            struct["sigma"][: len(shapes)].copy(),
            [struct["dequant"][layer, :n_out].copy() for layer, (_, n_out) in enumerate(shapes)],
            [struct["w"][layer, :n_out, :n_in].T.copy() for layer, (n_in, n_out) in enumerate(shapes)],
        )

    def fault(self, n_classes: int) -> str | None:
        """Return in words which parameter is out of its range; None if all are within theirs.

        Parameters
        ----------
        n_classes : int
            Number of the task's classes.
        """
        if self.n_classes != n_classes:
            return f"nn_q16 tells {self.n_classes} classes apart, the task has {n_classes}"
        if fault := range_fault(self.min_, self.range_):
            return f"nn_q16: {fault}"
        if np.any(self.s != reciprocal(self.range_)):
            return "nn_q16: a multiplier s is not 1/range with 46 fractional bits"
        if np.any(self.sigma < 1) or self.sigma[0] >= SIGMA_END or any(np.any(d < 0) for d in self.dequant):
            return "nn_q16: a scale factor is out of range"
        if any(np.any(w < -INT8_MAX) for w in self.weights):
            return "nn_q16: a weight is below -127"
        return self.overflow()

    def overflow(self) -> str | None:
        """Return in words which layer could overflow int64, None if none can: a product must not reach 2^62.

        The int8 weights bound every product.
        """
        for layer, (w, d) in enumerate(zip(self.weights, self.dequant, strict=True)):
            y = INT8_MAX * np.abs(w.astype(np.int64)).sum(axis=0).astype(float) * d
            following = self.sigma[layer + 1] if layer + 1 < len(self.weights) else 1
            if max(y.max(), y.max() / 2 ** (DEQUANT_BITS - Q) * following) >= 2.0**62:
                return f"layer {layer + 1} of the net overflows int64: its thresholds are too far apart"
        return None

    def tied(self) -> IntMlp:
        """Return a net in which pairs of classes have equal logits, to test argmax; see `fixed.tie_pairs`."""
        return replace(self, weights=tie_pairs(self.weights), dequant=tie_pairs(self.dequant))


def quantize_mlp(weights: list[np.ndarray], scaler: MinMax, alpha: list[float], alpha_w: list[np.ndarray]) -> IntMlp:
    """Quantize a trained net in arithmetic q16 (Sec. IV-B, step u2).

    Parameters
    ----------
    weights : list of ndarray of shape (M_{l-1}, M_l)
        W^(l) of the float net.
    scaler : MinMax
        Fitted on the training part.
    alpha : list of float
        Threshold of each layer's input.
    alpha_w : list of ndarray of shape (M_l,)
        Threshold of each column of weights, for each layer.

    Raises
    ------
    UserError
        If a weight or a threshold is not finite, or if a value on the way from features to logits could overflow int64.
    """
    require_finite([*weights, np.asarray(alpha), *alpha_w])
    sigma = to_fixed(INT8_MAX / np.asarray(alpha), Q)
    if np.any(sigma < 1) or sigma[0] >= SIGMA_END:
        raise UserError(f"a threshold is beyond 16-bit fixed point: {', '.join(f'{a:g}' for a in alpha)}")
    weights_q, dequant = [], []
    for layer, (w, a_w) in enumerate(zip(weights, alpha_w, strict=True)):
        sigma_w = INT8_MAX / np.asarray(a_w, np.float64)
        weights_q.append(np.clip(np.round(w * sigma_w), -INT8_MAX, INT8_MAX).astype(np.int8))
        dequant.append(to_fixed(1.0 / (sigma[layer] / (1 << Q) * sigma_w), DEQUANT_BITS))
    if np.any(scaler.range_ >= RANGE_END):
        raise UserError("a feature spans 2^31 units or more: q16 cannot normalise it without overflow")
    net = IntMlp(scaler.min_, scaler.range_, reciprocal(scaler.range_), sigma, dequant, weights_q)
    if overflow := net.overflow():
        raise UserError(overflow)
    return net


def reciprocal(range_: np.ndarray) -> np.ndarray:
    """Return 1/range of features of width `range_`, Q16, with 46 fractional bits; int64 of the same shape."""
    return to_fixed((1 << Q) / range_, S_BITS)
