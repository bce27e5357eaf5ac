"""Integer models -> the bytes of the C structs that user space and the kernel read."""

from __future__ import annotations

import numpy as np

from .quantize import IntMlp, IntTree

_X, _HIDDEN, _LAYERS = 16, 16, 3

# struct ids_mlp_q16 of bpf/int_mlp.h, struct ids_tree of bpf/int_tree.h
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


def tree_bytes(tree: IntTree) -> bytes:
    """Return a struct ids_tree."""
    out = np.zeros((), TREE)
    out["threshold"], out["feature"], out["leaf"] = tree.threshold, tree.feature, tree.leaf
    return out.tobytes()
