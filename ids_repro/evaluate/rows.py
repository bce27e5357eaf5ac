"""How each implementation classifies feature vectors in user space; which there are says `implementations`."""

from __future__ import annotations

import numpy as np

from ..data.features import as_float
from ..implementations import IMPLEMENTATIONS, rows_in
from ..models.model import Model
from ..native import library

# The C structs whose integers also run in the kernel, and the variant of the kernel program that reads each.
KERNEL_PROGRAMS = {one.struct: one.variant for one in rows_in("kernel").values()}
IN_PYTHON = {
    "dt_sklearn": lambda model, x: model.tree.predict(as_float(x)),
    "nn_pytorch": lambda model, x: model.mlp.predict(model.scaler.transform(x)),
}


def predictions(model: Model, x: np.ndarray) -> dict[str, np.ndarray]:
    """Classify feature vectors by every user-space row of Tables II and III.

    Parameters
    ----------
    model : Model
    x : ndarray of shape (n, 12), int64
        Features, Q16.

    Returns
    -------
    dict of str to ndarray of shape (n,)
        Classes by row: each that `implementations` has in Python or in C.
    """
    out = {}
    for row, one in rows_in("python", "c").items():
        out[row] = IN_PYTHON[row](model, x) if one.where == "python" else classify_in_c(model, one.struct, x)[1]
    return out


def float_row(row: str) -> str:
    """Return the row of the float model that a row implements: "dt_sklearn" or "nn_pytorch"."""
    return IMPLEMENTATIONS[row].reference


def classify_by_struct(struct: str, params: bytes, n_classes: int, x: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return logits, shape (n, n_classes or 0), and classes, shape (n,), by the C struct of that name."""
    logits, classes = library.predict(struct, params, n_classes, x)
    return np.zeros((len(x), 0), np.int64) if logits is None else logits, classes


def classify_in_c(model: Model, struct: str, x: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return the same for a model's own struct of that name."""
    return classify_by_struct(struct, model.params(struct), model.n_classes, x)


def classify_in_numpy(model: Model, struct: str, x: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return the same by the NumPy twin of the C: the reference."""
    twin = model.twins[struct]
    return twin.logits(x), twin.predict(x)
