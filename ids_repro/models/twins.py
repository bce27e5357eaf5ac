"""The integer models, as a table: how each is made from a calibrated model, and how again from its C struct."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np

from ..native.layouts import Hidden
from .int_mlp import IntMlp, quantize_mlp
from .int_mlp_fused import FusedMlp, quantize_fused
from .int_mlp_log2 import Log2Mlp, quantize_log2
from .int_tree import IntTree, quantize_tree
from .model import Model


class Twin(NamedTuple):
    """One integer model, the NumPy twin of a classifier in C.

    Attributes
    ----------
    quantize : callable
        Makes it from a calibrated `Model`.
    read : callable
        Makes it again from its C struct, a numpy.void, the number of classes, and the widths of the hidden layers.
    """

    quantize: Callable[[Model], Any]
    read: Callable[[np.void, int, Hidden], Any]


def _q16(model: Model) -> IntMlp:
    alpha_w = [np.array([t.alpha for t in columns]) for columns in model.thresholds[1]]
    return quantize_mlp(model.mlp.weights(), model.scaler, list(model.alpha), alpha_w)


def _read_tree(struct: np.void, n_classes: int, _: Hidden) -> IntTree:
    return IntTree.from_struct(struct, n_classes)


# By the name of the C struct (`layouts.STRUCTS`): those of the paper's models, and those of a detector.
TWINS = {
    "nn_q16": Twin(_q16, IntMlp.from_struct),
    "nn_fused": Twin(lambda model: quantize_fused(model.mlp.weights(), model.scaler), FusedMlp.from_struct),
    "dt": Twin(lambda model: quantize_tree(model.float_tree, model.n_classes), _read_tree),
}
DETECTOR_TWINS = {
    "nn_log2": Twin(lambda model: quantize_log2(model.mlp.weights(), model.scaler), Log2Mlp.from_struct),
    "dt": TWINS["dt"],
}
