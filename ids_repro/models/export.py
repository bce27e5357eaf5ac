"""Integer models -> the bytes of the C structs that user space and the kernel read."""

from __future__ import annotations

import numpy as np

from ..config import UserError
from ..data.dataset import MinMax
from .int_mlp import IntMlp, IntTree
from .int_mlp_fused import LANE_BITS, LANE_MAX, LANES, FusedMlp

_X, _HIDDEN, _LAYERS = 16, 16, 3
_WORDS = _HIDDEN // LANES

# struct ids_mlp_q16 of bpf/int_mlp.h, ids_mlp_fused of bpf/int_mlp_fused.h, ids_tree of bpf/int_tree.h
MLP_Q16 = np.dtype(
    [
        ("min", "i8", _X),
        ("range", "i8", _X),
        ("s", "i8", _X),
        ("sigma", "i8", 4),
        ("dequant", "i8", (_LAYERS, _HIDDEN)),
        ("w", "i1", (_LAYERS, _HIDDEN, _HIDDEN)),
    ]
)
MLP_FUSED = np.dtype(
    [
        ("min", "i8", _X),
        ("range", "i8", _X),
        ("mul", "i8", _X),
        ("shift", "i8", _X),
        ("w", "i8", (_LAYERS, _HIDDEN, _WORDS)),
    ]
)
MLP_FLOAT = np.dtype([("min", "i8", _X), ("scale", "f4", _X), ("w", "f4", (_LAYERS, _HIDDEN, _HIDDEN))])
TREE = np.dtype([("threshold", "i8", 32), ("feature", "u1", 32), ("leaf", "u1", 32)])


def mlp_bytes(net: IntMlp) -> bytes:
    """Return a struct ids_mlp_q16; what the net does not use is zero."""
    out = np.zeros((), MLP_Q16)
    for name, value in (("min", net.min_), ("range", net.range_), ("s", net.s), ("sigma", net.sigma)):
        out[name][: len(value)] = value
    for layer, (w, d) in enumerate(zip(net.weights, net.dequant, strict=True)):
        out["dequant"][layer, : len(d)] = d
        out["w"][layer, : w.shape[1], : w.shape[0]] = w.T
    return out.tobytes()


def pack_lanes(weights: np.ndarray) -> np.ndarray:
    """Put two columns of weights, shape (K, M), into each 64-bit word, lanes of 32 bits; shape (K, 8), int64."""
    columns = np.zeros((len(weights), _WORDS, LANES), np.int64)
    columns.reshape(len(weights), -1)[:, : weights.shape[1]] = weights
    return (columns << (LANE_BITS * np.arange(LANES))).sum(axis=2)


def fused_bytes(net: FusedMlp) -> bytes:
    """Return a struct ids_mlp_fused; what the net does not use is zero.

    Raises
    ------
    UserError
        If a column's sum could leave its lane: the two columns of a word would mix.
    """
    if max(bound.max() for bound in net.bounds()) > LANE_MAX:
        raise UserError("a column of the net leaves its 32-bit lane: quantize the model again (notebook 03)")
    out = np.zeros((), MLP_FUSED)
    for name, value in {"min": net.min_, "range": net.range_, "mul": net.mul, "shift": net.shift}.items():
        out[name][: len(value)] = value
    for layer, w in enumerate(net.weights):
        out["w"][layer, : len(w)] = pack_lanes(w)
    return out.tobytes()


def float_bytes(weights: list[np.ndarray], scaler: MinMax) -> bytes:
    """Return a struct ids_mlp_float of W^(l), each of shape (M_{l-1}, M_l), and the normaliser."""
    out = np.zeros((), MLP_FLOAT)
    out["min"][: len(scaler.min_)] = scaler.min_
    out["scale"][: len(scaler.min_)] = 1.0 / scaler.range_
    for layer, w in enumerate(weights):
        out["w"][layer, : w.shape[0], : w.shape[1]] = w
    return out.tobytes()


def tree_bytes(tree: IntTree) -> bytes:
    """Return a struct ids_tree."""
    out = np.zeros((), TREE)
    out["threshold"], out["feature"], out["leaf"] = tree.threshold, tree.feature, tree.leaf
    return out.tobytes()
