"""The MLP in arithmetic fused, which is ours: its quantization, and the NumPy twin of bpf/int_mlp_fused.h.

It needs a third of the operations of the paper's arithmetic, and it decides as the float net does. It keeps precision
in three ways.

1. Each feature has its own multiplier and shift. So an interval of hours and a flag have the same relative precision.
2. Each column has its own unit. Since ReLU(c y) = c ReLU(y), the column can be scaled until the largest sum that it can
   produce fills its lane of 32 bits. The rows of the next layer's weights take the unit back (cross-layer equalisation:
   Nagel et al., ICCV 2019).
3. The units are such that one rounding shift requantises every column. No multiplier, threshold or clip is needed.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from ..config import UserError
from ..native.layouts import LANE_BITS, LANES, N_FEATURES, PAPER_NET, Hidden, layer_shapes, mlp_fused, room
from .fixed import NO_FLAG, RANGE_END, hidden_of, range_fault, require_finite, tie_pairs
from .scaling import MinMax

# As in bpf/int_mlp_fused.h.
INPUT_MAX = 16383  # largest activation of the first layer
SHIFT = 16  # requantisation divides a column's sum by 2^16 and rounds
HALF = 1 << (SHIFT - 1)
LANE_MAX = (1 << (LANE_BITS - 1)) - 1 - HALF  # largest sum of a column before it is rounded

MUL_BITS = 15  # a feature's multiplier is at most 2^15: times a range below 2^47, it stays below 2^62
SHIFTS = (1, 48)  # a feature's shift: for a range of 1, and for one of 2^47


@dataclass(frozen=True)
class FusedMlp:
    """The net in arithmetic fused.

    Errors: an input is off by less than 1/16383 + 2^-15 of its feature's range, which is one level and the rounding of
    the multiplier. A hidden activation has at most 2^15 levels and is off by half a level. Rounding the weights changes
    a column's sum by at most K P / 2 for K inputs of at most P levels. That is below 2^-13 of the largest sum that the
    column can produce, which may reach 2^31. Only a feature outside its range in the training part is clipped.

    Parameters
    ----------
    min_, range_ : ndarray of shape (12,), int64
        Smallest value and width of each feature, Q16.
    mul, shift : ndarray of shape (12,), int64
        16383/range of each feature as mul / 2^shift.
    weights : list of ndarray of shape (M_{l-1}, M_l), int64
        Weights in the units of their rows and columns, 14 to 18 bits.
    flag_at : int
        Score, logit 1 - logit 0, at which a detector flags a flow.
    """

    min_: np.ndarray
    range_: np.ndarray
    mul: np.ndarray
    shift: np.ndarray
    weights: list[np.ndarray]
    flag_at: int = NO_FLAG

    struct = "nn_fused"

    @property
    def n_classes(self) -> int:
        """Number of classes, 2 or 7."""
        return self.weights[-1].shape[1]

    def inputs(self, x: np.ndarray) -> np.ndarray:
        """Quantise features of shape (n, 12), int64, Q16, to the first layer's activations in [0, INPUT_MAX], int64."""
        return (np.minimum(np.maximum(x - self.min_, 0), self.range_) * self.mul) >> self.shift

    def logits(self, x: np.ndarray) -> np.ndarray:
        """Compute the logits Y^(L).

        Parameters
        ----------
        x : ndarray of shape (n, 12), int64
            Features, Q16.

        Returns
        -------
        ndarray of shape (n, n_classes), int64
            Logits. All have the same unit, which depends on the net.
        """
        a = self.inputs(x)
        for w in self.weights[:-1]:
            a = requantise(a @ w)
        return a @ self.weights[-1]

    def predict(self, x: np.ndarray) -> np.ndarray:
        """Classify features of shape (n, 12), int64, Q16.

        Returns
        -------
        ndarray of shape (n,), int64
            Class with the largest logit; of equal ones, the first.
        """
        return self.logits(x).argmax(axis=1)

    def bounds(self) -> list[np.ndarray]:
        """Return the largest |sum| that any features can produce in each column; an array of shape (M_l,) per layer."""
        out, high = [], np.full(len(self.mul), INPUT_MAX)
        for w in self.weights:
            out.append(largest_sum(w, high))
            high = requantise(high @ np.maximum(w, 0))
        return out

    def to_bytes(self) -> bytes:
        """Return the net as its struct that C reads; entries that the net does not use are zero.

        Raises
        ------
        UserError
            If a column's sum could leave its lane, since it would then change the other column of its word.
        """
        if self._leaves_lane():
            raise UserError("a column of the net leaves its 32-bit lane: quantize the model again (notebook 03)")
        hidden = hidden_of(self.weights)
        out = np.zeros((), mlp_fused(hidden))
        out["flag_at"] = self.flag_at
        for name, value in {"min": self.min_, "range": self.range_, "mul": self.mul, "shift": self.shift}.items():
            out[name][: len(value)] = value
        for layer, w in enumerate(self.weights):
            out["w"][layer, : len(w)] = pack_lanes(w, room(hidden)[2] // LANES)
        return out.tobytes()

    def _leaves_lane(self) -> bool:
        """Return whether the sum of some column could leave its lane."""
        return max(bound.max() for bound in self.bounds()) > LANE_MAX

    @classmethod
    def from_struct(cls, struct: np.ndarray, n_classes: int, hidden: Hidden = PAPER_NET) -> FusedMlp:
        """Make a net of the struct that `to_bytes` wrote.

        Parameters
        ----------
        struct : ndarray of shape (), dtype mlp_fused(hidden)
            The struct ids_nn_fused.
        n_classes : int
            2 or 7.
        hidden : tuple of int
            Widths of the hidden layers.
        """
        parts = (struct[name][:N_FEATURES].copy() for name in ("min", "range", "mul", "shift"))
        shapes = enumerate(layer_shapes(n_classes, hidden))
        weights = [unpack_lanes(struct["w"][layer, :n_in])[:, :n_out] for layer, (n_in, n_out) in shapes]
        return cls(*parts, weights, int(struct["flag_at"]))

    def fault(self, n_classes: int) -> str | None:
        """Return in words which parameter is out of its range; None if all are within theirs.

        Parameters
        ----------
        n_classes : int
            Number of the task's classes.
        """
        if self.n_classes != n_classes:
            return f"{self.struct} tells {self.n_classes} classes apart, the task has {n_classes}"
        if fault := range_fault(self.min_, self.range_):
            return f"{self.struct}: {fault}"
        if np.any(self.mul < 1) or np.any(self.mul > 1 << MUL_BITS):
            return f"{self.struct}: a multiplier is out of range: it is 1 to 2^{MUL_BITS}"
        if np.any(self.shift < SHIFTS[0]) or np.any(self.shift > SHIFTS[1]):
            return f"{self.struct}: a shift is out of range: it is {SHIFTS[0]} to {SHIFTS[1]}"
        if np.any((self.range_ * self.mul) >> self.shift > INPUT_MAX):
            return f"{self.struct}: a feature becomes larger than {INPUT_MAX}: a sum could leave its 32-bit lane"
        if self._leaves_lane():
            return f"{self.struct}: a column's sum could leave its 32-bit lane"
        return None

    def tied(self) -> FusedMlp:
        """Return a net in which pairs of classes have equal logits, to test argmax; see `fixed.tie_pairs`."""
        return replace(self, weights=tie_pairs(self.weights))


def largest_sum(w: np.ndarray, high: np.ndarray) -> np.ndarray:
    """Return the largest |sum_k a_k w_kj| of each column j over all activations a_k in [0, high_k].

    Parameters
    ----------
    w : ndarray of shape (K, M)
        Weights of a layer.
    high : ndarray of shape (K,)
        Largest value of each activation.

    Returns
    -------
    ndarray of shape (M,)
    """
    return np.maximum(high @ np.maximum(w, 0), high @ np.maximum(-w, 0))


def requantise(total: np.ndarray) -> np.ndarray:
    """Turn the sums of a layer's columns into the next layer's activations: ReLU of total / 2^16, rounded.

    Halves are rounded upwards. This is dequantisation, ReLU and quantisation in one step.

    Parameters
    ----------
    total : ndarray of any shape, int64
        Sums of columns.
    """
    return np.maximum((total + HALF) >> SHIFT, 0)


def quantize_fused(weights: list[np.ndarray], scaler: MinMax) -> FusedMlp:
    """Quantize a trained net in arithmetic fused. No calibration data is needed, because every bound is known.

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
    if np.any(scaler.range_ >= RANGE_END):
        raise UserError("a feature spans 2^31 units or more: fused cannot quantise it without overflow")
    require_finite(weights)
    shift = MUL_BITS - 1 - np.floor(np.log2(INPUT_MAX / scaler.range_)).astype(np.int64)
    mul = np.round(INPUT_MAX / scaler.range_ * 2.0**shift).astype(np.int64)
    net = FusedMlp(scaler.min_, scaler.range_, mul, shift, [])
    unit, high = np.full(len(mul), 1.0 / INPUT_MAX), np.full(len(mul), INPUT_MAX)
    for layer, w in enumerate(weights):
        real = w * unit[:, None]
        room = LANE_MAX - high.sum() / 2  # rounding the weights can add the rest
        largest = largest_sum(real, high)
        if layer == len(weights) - 1:
            largest[:] = largest.max()  # logits are compared with each other, so all columns get the same unit
        scale = room / np.where(largest > 0, largest, room)  # a column of zeros stays as it is
        net.weights.append(np.round(real * scale).astype(np.int64))
        high = requantise(high @ np.maximum(net.weights[-1], 0))
        unit = 2.0**SHIFT / scale
    return net


def pack_lanes(weights: np.ndarray, n_words: int = 8) -> np.ndarray:
    """Put two columns of weights into each 64-bit word, each in a lane of 32 bits.

    Parameters
    ----------
    weights : ndarray of shape (K, M), int64
        Weights of a layer.
    n_words : int
        Words of a row, at least M / 2: of the paper's net 8. Those without a column are zero.

    Returns
    -------
    ndarray of shape (K, n_words), int64
        Word g holds column 2g in its lower lane and column 2g + 1 in its upper lane.
    """
    columns = np.zeros((len(weights), n_words, LANES), np.int64)
    columns.reshape(len(weights), -1)[:, : weights.shape[1]] = weights
    return (columns << (LANE_BITS * np.arange(LANES))).sum(axis=2)


def unpack_lanes(words: np.ndarray) -> np.ndarray:
    """Take the columns of weights out of their lanes; the opposite of `pack_lanes`.

    Parameters
    ----------
    words : ndarray of shape (K, n_words), int64

    Returns
    -------
    ndarray of shape (K, 2 n_words), int64
    """
    lower = words.astype(np.int32).astype(np.int64)  # the lowest 32 bits, with their sign
    return np.stack([lower, (words - lower) >> LANE_BITS], axis=2).reshape(len(words), -1)
