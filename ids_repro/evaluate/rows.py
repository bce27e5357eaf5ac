"""Classify feature vectors in user space, by each implementation that `implementations` lists.

A *row* is the name of an implementation, such as "nn_q16_c". A *struct* is the name of what a classifier reads in C,
such as "nn_q16". Several rows share one struct.
"""

from __future__ import annotations

import numpy as np

from ..data.features import as_float
from ..implementations import DETECTORS, IMPLEMENTATIONS, rows_in
from ..models.model import Model
from ..native import library
from ..native.layouts import PAPER_NET, Hidden

# The structs that a kernel program reads, and the variant of the kernel program that reads each.
KERNEL_PROGRAMS = {one.struct: one.variant for one in rows_in("kernel").values()}
DETECTOR_PROGRAMS = {one.struct: one.variant for one in DETECTORS.values()}
IN_PYTHON = {
    "dt_sklearn": lambda model, x: model.tree.predict(as_float(x)),
    "nn_pytorch": lambda model, x: model.mlp.predict(model.scaler.transform(x)),
}


def predictions(model: Model, x: np.ndarray) -> dict[str, np.ndarray]:
    """Classify feature vectors by every row of Tables II and III that runs in user space.

    Parameters
    ----------
    model : Model
        A quantized model.
    x : ndarray of shape (n, 12), int64
        Features, Q16.

    Returns
    -------
    dict of str to ndarray of shape (n,)
        Classes by row.
    """
    out = {}
    for row, one in rows_in("python", "c").items():
        out[row] = IN_PYTHON[row](model, x) if one.where == "python" else classify_in_c(model, one.struct, x)[1]
    return out


def float_row(row: str) -> str:
    """Return the row of the float model that a row implements: "dt_sklearn" or "nn_pytorch"."""
    return IMPLEMENTATIONS[row].reference


def classify_by_struct(
    struct: str, params: bytes, n_classes: int, x: np.ndarray, hidden: Hidden = PAPER_NET
) -> tuple[np.ndarray, np.ndarray]:
    """Classify feature vectors in C.

    Parameters
    ----------
    struct : str
        A name in `native.layouts.STRUCTS`.
    params : bytes
        The struct itself (`models.model.Model.params`).
    n_classes : int
        2 or 7.
    x : ndarray of shape (n, 12), int64
        Features, Q16.
    hidden : tuple of int
        Widths of the hidden layers of the model's net.

    Returns
    -------
    logits : ndarray of shape (n, n_classes) or (n, 0), int64
        Those of a net in integers; the tree and the float net have none here.
    classes : ndarray of shape (n,), uint8
    """
    logits, classes = library.predict(struct, params, n_classes, x, hidden=hidden)
    return np.zeros((len(x), 0), np.int64) if logits is None else logits, classes


def classify_in_c(model: Model, struct: str, x: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return the logits and classes of a model's struct in C; see `classify_by_struct`."""
    return classify_by_struct(struct, model.params(struct), model.n_classes, x, model.hidden)


def classify_in_numpy(model: Model, struct: str, x: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return the logits and classes of the NumPy twin of that C, which is the reference; see `classify_by_struct`."""
    twin = model.twins[struct]
    return twin.logits(x), twin.predict(x)


def programs(model: Model) -> dict[str, str]:
    """Return the structs of a model that a kernel program reads, and the variant that reads each."""
    return KERNEL_PROGRAMS if model.detector is None else DETECTOR_PROGRAMS
