"""The implementations of the classifiers that tables compare, and how each classifies feature vectors."""

from __future__ import annotations

import numpy as np

from ..data.features import as_float
from ..kernel.variants import VARIANTS
from ..models.model import Model
from ..native import library

# The same integers in user space as in the kernel.
IN_C = {"dt_kernel": "dt_c", "nn_kernel": "nn_c_q16", "nn_fused_kernel": "nn_c_fused"}
# What is compared, and the kernel program that is it.
CLASSIFIERS = {"nn": "nn_q16_packed", "nn_fused": "nn_fused_packed", "dt": "dt"}


def predictions(model: Model, x: np.ndarray) -> dict[str, np.ndarray]:
    """Classes of feature vectors by every user-space row of Tables II and III.

    Parameters
    ----------
    x : ndarray of shape (n, 12), int64
        Features, Q16.

    Returns
    -------
    dict of str to ndarray of shape (n,)
        By row: dt_sklearn, nn_pytorch, dt_c, nn_c_q16, nn_c_fused, nn_float_c.
    """
    return {
        "dt_sklearn": model.tree.predict(as_float(x)),
        "nn_pytorch": model.mlp.predict(model.scaler.transform(x)),
        "dt_c": library.predict_tree(model.params("dt"), x),
        "nn_c_q16": library.predict_mlp(model.params("nn"), model.n_classes, x)[1],
        "nn_c_fused": library.predict_mlp(model.params("nn_fused"), model.n_classes, x, "fused")[1],
        "nn_float_c": library.predict_float(model.params("nn_float"), model.n_classes, x),
    }


def float_row(row: str) -> str:
    """The float model that a row is an implementation of: "dt_sklearn" or "nn_pytorch"."""
    return "dt_sklearn" if row.startswith("dt") else "nn_pytorch"


def classify_in_numpy(model: Model, classifier: str, x: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Logits (n, n_classes; none for "dt") and classes (n,) by the NumPy reference."""
    if classifier == "dt":
        return np.zeros((len(x), 0), np.int64), model.int_tree.predict(x)
    logits = (model.int_mlp if classifier == "nn" else model.int_fused).logits(x)
    return logits, logits.argmax(axis=1)


def classify_by_struct(classifier: str, params: bytes, n_classes: int, x: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The same by bpf/user.c, from the bytes of the model's C struct."""
    if classifier == "dt":
        return np.zeros((len(x), 0), np.int64), library.predict_tree(params, x)
    return library.predict_mlp(params, n_classes, x, VARIANTS[CLASSIFIERS[classifier]].arithmetic)


def classify_in_c(model: Model, classifier: str, x: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The same by bpf/user.c."""
    return classify_by_struct(classifier, model.params(classifier), model.n_classes, x)
