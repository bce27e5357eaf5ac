"""How each implementation classifies feature vectors in user space; which there are says `implementations`."""

from __future__ import annotations

from collections.abc import Callable

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


def c_call(
    struct: str, params: bytes, n_classes: int, x: np.ndarray, optimise: str = "-O2"
) -> Callable[[], np.ndarray | tuple[np.ndarray, np.ndarray]]:
    """Return a call without arguments that classifies vectors by bpf/user/library.c; what is timed is this call.

    Parameters
    ----------
    struct : str
        Name of the C struct: "dt", "nn_q16", "nn_fused" or "nn_float".
    params : bytes
        The struct.
    n_classes : int
        2 or 7.
    x : ndarray of shape (n, 12), int64
        Features, Q16.
    optimise : str
        How the C is compiled.

    Returns
    -------
    callable
        Returns the classes, shape (n,), and before them the logits, shape (n, n_classes), where the C makes integers.
    """
    if struct == "dt":
        return lambda: library.predict_tree(params, x, optimise)
    if struct == "nn_float":
        return lambda: library.predict_float(params, n_classes, x, optimise)
    arithmetic = struct.removeprefix("nn_")
    return lambda: library.predict_mlp(params, n_classes, x, arithmetic, optimise)


def classify_by_struct(struct: str, params: bytes, n_classes: int, x: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return logits, shape (n, n_classes or 0), and classes, shape (n,), by user-space C; see `c_call`."""
    found = c_call(struct, params, n_classes, x)()
    return found if isinstance(found, tuple) else (np.zeros((len(x), 0), np.int64), found)


def classify_in_c(model: Model, struct: str, x: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return the same for a model's own struct of that name."""
    return classify_by_struct(struct, model.params(struct), model.n_classes, x)


def classify_in_numpy(model: Model, struct: str, x: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return the same by the NumPy twin of the C: the reference."""
    if struct == "dt":
        return np.zeros((len(x), 0), np.int64), model.int_tree.predict(x)
    logits = (model.int_mlp if struct == "nn_q16" else model.int_fused).logits(x)
    return logits, logits.argmax(axis=1)
