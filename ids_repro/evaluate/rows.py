"""What the models are worth (Sec. V-A): the test part through every implementation -> records."""

from __future__ import annotations

import time

import numpy as np
import pandas as pd

from .. import records
from ..config import RESULTS, Profile
from ..data import dataset
from ..models.pipeline import Model, load_all
from ..native import library as native

ACCURACY = RESULTS / "accuracy.jsonl"


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
        "dt_sklearn": model.tree.predict(dataset.as_float(x)),
        "nn_pytorch": model.mlp.predict(model.scaler.transform(x)),
        "dt_c": native.predict_tree(model.params("dt"), x),
        "nn_c_q16": native.predict_mlp(model.params("nn"), model.n_classes, x)[1],
        "nn_c_fused": native.predict_mlp(model.params("nn_fused"), model.n_classes, x, "fused")[1],
        "nn_float_c": native.predict_float(model.params("nn_float"), model.n_classes, x),
    }


def float_row(row: str) -> str:
    """The float model that a row is an implementation of: "dt_sklearn" or "nn_pytorch"."""
    return "dt_sklearn" if row.startswith("dt") else "nn_pytorch"


def confusion(truth: np.ndarray, found: np.ndarray, n_classes: int) -> np.ndarray:
    """Confusion matrix of shape (n_classes, n_classes): rows true, columns predicted."""
    return np.bincount(truth * n_classes + found.astype(np.int64), minlength=n_classes**2).reshape(n_classes, n_classes)


def evaluate_all(data: dataset.Dataset, profile: Profile, kernel: dict | None = None) -> pd.DataFrame:
    """Classify the test part by every row of Tables II and III, and record the confusion matrices.

    Parameters
    ----------
    data : Dataset
        What the models were trained on.
    kernel : dict, optional
        More rows: (task, seed) to {row: verdicts of shape (n,) on the vectors of `data`} (`parity.verdicts`).

    Returns
    -------
    DataFrame
        task, seed, row, accuracy, and agreement with the float row of the same family.
    """
    out = []
    for model in load_all(profile):
        started = time.time()
        _, _, test = dataset.split(data, model.seed)
        truth = data.target(model.task)[test]
        rows = predictions(model, data.x[test])
        rows |= {name: found[test] for name, found in (kernel or {}).get((model.task, model.seed), {}).items()}
        for row, found in rows.items():
            floats = rows[float_row(row)]
            asked = {"task": model.task, "row": row, "seed": model.seed, "dataset": data.meta["name"]}
            asked |= {"profile": profile.name}
            raw = {"confusion": confusion(truth, found, model.n_classes).tolist(), "unit": "flows"}
            raw |= {"agreement_with_float": float(np.mean(found == floats))}
            identity = {"model_sha256": model.sha256(), "data_hash": model.data_sha256}
            records.append(ACCURACY, "accuracy", asked, raw, started=started, identity=identity)
            out.append(asked | {"accuracy": np.mean(found == truth), "agreement": raw["agreement_with_float"]})
    return pd.DataFrame(out)
